"""Every optimizer, clipping and the average of the weights on two ranks: sharded parameters (DTensors) and copied ones."""

import os
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from forked_ranks import on_ranks
from lm_core.errors import ConfigError
from lm_core.optim import EMA, Adafactor, AdamW, Lion, Muon, ScheduleFreeAdamW, clip_grad_norm, muon
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

SHAPES = [(6, 4), (4, 8), (5, 4), (6, 4), (1, 4), (6, 4)]  # 5 rows and 1 do not divide by 2
KINDS = (AdamW, Lion, Adafactor, ScheduleFreeAdamW, Muon)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked, which needs a Unix")


def numbers(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def close(sharded, whole, message):
    torch.testing.assert_close(sharded, whole, rtol=1e-5, atol=1e-6, msg=lambda text: f"{message}: {text}")


def test_parts_are_updated_averaged_and_clipped_like_whole_parameters_and_muon_does_each_matrix_once(
    tmp_path,
):
    def work(rank):  # one launch for all, which costs more than what is tested
        mesh = init_device_mesh("cpu", (2,))
        for kind in KINDS:
            same_as_whole(kind, lambda tensor: distribute_tensor(tensor, mesh, [Shard(0)]))
        for kind in (Adafactor, Muon):
            with pytest.raises(
                ConfigError, match=f"{kind.__name__} updates parameters that are whole or cut by"
            ):
                same_as_whole(kind, lambda tensor: distribute_tensor(tensor, mesh, [Shard(1)]))
        for kind, placement in ((AdamW, Shard(1)), (Muon, Replicate())):
            same_as_whole(kind, lambda tensor, cut=placement: distribute_tensor(tensor, mesh, [cut]))
        muon_does_each_matrix_once(lambda tensor: tensor, dist.group.WORLD)
        muon_does_each_matrix_once(lambda tensor: distribute_tensor(tensor, mesh, [Shard(0)]), None)

    on_ranks(2, tmp_path / "store", work)


def same_as_whole(kind, shard):
    whole = [torch.nn.Parameter(tensor) for tensor in numbers(0)]
    parts = [torch.nn.Parameter(shard(tensor)) for tensor in numbers(0)]
    optimizers = [kind(whole), kind(parts)]
    averages = [EMA(whole, 0.9), EMA(parts, 0.9)]
    for step in range(1, 3):
        for parameter, part, gradient in zip(whole, parts, numbers(step), strict=True):
            parameter.grad, part.grad = gradient, shard(gradient.clone())
        one, other = (clip_grad_norm(params, 0.5) for params in (whole, parts))
        close(other, one, "the norm")
        for optimizer in optimizers:
            optimizer.step()
        for average in averages:
            average.update()
    for parameter, part in zip(whole, parts, strict=True):
        close(part.full_tensor(), parameter, kind.__name__)
        for name, state in (
            optimizers[1].state[part].items()
        ):  # cut like the parameter, so that it is saved like it
            expected = optimizers[0].state[parameter][name]
            close(state.full_tensor() if name != "step" else state, expected, name)
    with averages[0].averaged(), averages[1].averaged():
        for parameter, part in zip(whole, parts, strict=True):
            close(part.full_tensor(), parameter, f"the average under {kind.__name__}")


def muon_does_each_matrix_once(shard, ranks):
    """Both ranks together orthogonalize each matrix once, and both get the same update, bit for bit."""
    alone = [torch.nn.Parameter(tensor) for tensor in numbers(0)]
    shared = [torch.nn.Parameter(shard(tensor)) for tensor in numbers(0)]
    for parameter, other, gradient in zip(alone, shared, numbers(1), strict=True):
        parameter.grad, other.grad = gradient, shard(gradient.clone())
    Muon(alone).step()
    with mock.patch.object(muon, "orthogonalize_fast", wraps=muon.orthogonalize_fast) as orthogonalize:
        Muon(shared, ranks=ranks).step()
    done = torch.tensor(sum(len(call.args[0]) for call in orthogonalize.call_args_list))
    dist.all_reduce(done)
    assert int(done) == len(SHAPES), f"{int(done)} on both ranks together"
    for parameter, other in zip(alone, shared, strict=True):
        result = other.full_tensor() if ranks is None else other
        close(result, parameter, "the same update")
        both = [torch.empty_like(result) for _ in range(2)]
        dist.all_gather(both, result.detach())
        assert torch.equal(*both)
