"""Every optimizer, clipping and the average of the weights, on parameters that two processes hold halves of (FSDP2's DTensors)."""

import subprocess
import sys

import pytest

RANK = """
import sys
import torch
import torch.distributed as dist
from lm_core.optim import EMA, Adafactor, AdamW, Lion, Muon, ScheduleFreeAdamW, clip_grad_norm
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))

def numbers(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in [(6, 4), (8, 4), (4, 8)]]

def shard(tensor):
    return distribute_tensor(tensor, mesh, [Shard(0)])

for kind in (AdamW, Lion, Adafactor, ScheduleFreeAdamW, Muon):
    whole = [torch.nn.Parameter(tensor) for tensor in numbers(0)]
    halves = [torch.nn.Parameter(shard(tensor)) for tensor in numbers(0)]
    optimizers = [kind(whole), kind(halves)]
    averages = [EMA(whole, 0.9), EMA(halves, 0.9)]
    for step in range(1, 4):
        for parameter, half, gradient in zip(whole, halves, numbers(step), strict=True):
            parameter.grad, half.grad = gradient, shard(gradient)
        one, other = (clip_grad_norm(params, 0.5) for params in (whole, halves))
        torch.testing.assert_close(other.full_tensor(), one)
        for optimizer in optimizers:
            optimizer.step()
        for average in averages:
            average.update()
    for parameter, half in zip(whole, halves, strict=True):
        assert half.to_local().shape[0] == parameter.shape[0] // 2
        torch.testing.assert_close(half.full_tensor(), parameter, rtol=1e-5, atol=1e-6, msg=kind.__name__)
    with averages[0].averaged(), averages[1].averaged():
        for parameter, half in zip(whole, halves, strict=True):
            torch.testing.assert_close(half.full_tensor(), parameter, rtol=1e-5, atol=1e-6, msg=kind.__name__)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_halves_of_parameters_are_updated_like_whole_ones(tmp_path):
    ranks = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", RANK, str(rank), str(tmp_path / "store")])
        for rank in range(2)
    ]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
