import math

import pytest
import torch
from lm_core import Attention, cross_entropy
from lm_core.errors import ConfigError
from lm_core.inspection import (
    activation_norms,
    attention_maps,
    gradient_norms,
    logit_lens,
    residual_stream,
    stream_statistics,
    watching,
    weight_norms,
)
from tiny_models import VARIANTS, some_ids, tiny_model


@pytest.mark.parametrize("variant", VARIANTS)
def test_attention_maps_are_the_weights_that_the_model_attends_with(variant):
    model, ids = tiny_model(variant), some_ids(2, 9)
    maps = attention_maps(model, ids)
    assert [tuple(each.shape) for each in maps] == [(2, 4, 9, 9)] * 2
    seen = {}

    def see(name, module, inputs, output):
        seen[module.layer] = (module.project(inputs[0])[2], output)

    with watching(model, see, only=Attention):
        model(ids)
    for layer, weights in enumerate(maps):
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9))
        assert not weights.triu(1).any()
        v, output = seen[layer]
        mixed = weights @ v.repeat_interleave(4 // v.shape[1], dim=1)
        rebuilt = model.blocks[layer].attention.o(mixed.transpose(1, 2).flatten(2))
        torch.testing.assert_close(rebuilt, output, atol=1e-5, rtol=1e-4)


def test_the_stream_leads_from_the_embedding_to_the_last_norm():
    model, ids = tiny_model(), some_ids(2, 9)
    stream = residual_stream(model, ids)
    assert len(stream) == 3
    torch.testing.assert_close(stream[0], model.embedding(ids))
    torch.testing.assert_close(stream[1], model.blocks[0](stream[0]))
    torch.testing.assert_close(model.norm(stream[-1]), model.hidden(ids))


def test_the_statistics_are_those_of_the_stream():
    model, ids = tiny_model(), some_ids(2, 9)
    stream, rows = residual_stream(model, ids), stream_statistics(model, ids)
    assert [row.layer for row in rows] == [0, 1]
    for row, before, after in zip(rows, stream, stream[1:], strict=False):
        block = model.blocks[row.layer]
        attention = block.attention(block.attention_norm(before))
        feed_forward = after - before - attention
        assert row.before == pytest.approx(before.square().mean().sqrt().item(), rel=1e-5)
        assert row.attention == pytest.approx(attention.square().mean().sqrt().item(), rel=1e-4)
        assert row.feed_forward == pytest.approx(feed_forward.square().mean().sqrt().item(), rel=1e-4)
        assert row.largest == after.abs().max().item()
        assert -1 <= row.cosine <= 1


def test_the_logit_lens_ends_with_the_models_own_logits():
    model, ids = tiny_model("soft-capped, padded"), some_ids(2, 9)
    lens = logit_lens(model, ids)
    assert lens.shape == (3, 2, 9, 61)
    torch.testing.assert_close(lens[-1], model(ids))
    torch.testing.assert_close(lens[0], model.logits(model.norm(model.embedding(ids))))


def test_norms_of_activations_weights_and_gradients_by_name():
    model, ids = tiny_model(), some_ids(2, 9)
    activations = activation_norms(model, ids)
    assert activations["logits"] == pytest.approx(model(ids).square().mean().sqrt().item(), rel=1e-5)
    assert {
        "embedding",
        "blocks.1.attention.q",
        "blocks.0.feed_forward",
        "norm",
        "head",
    } <= activations.keys()
    with pytest.raises(ConfigError, match=r"no parameter has a gradient yet; call loss\.backward\(\) first"):
        gradient_norms(model)
    cross_entropy(model(ids), ids).backward()
    for norms, values in ((weight_norms(model), lambda p: p), (gradient_norms(model), lambda p: p.grad)):
        assert list(norms) == [name for name, _ in model.named_parameters()]
        for name, parameter in model.named_parameters():
            expected = values(parameter).norm().item() / math.sqrt(parameter.numel())
            assert norms[name] == pytest.approx(expected, rel=1e-5)


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_a_model_is_as_it_was_afterwards_also_after_an_error():
    model, ids = tiny_model(), some_ids(1, 5)
    before = model(ids)
    with pytest.raises(ZeroDivisionError), watching(model, lambda *_: 1 / 0):
        model(ids)
    assert hooks(model) == 0
    with watching(model, lambda *_: None):
        assert hooks(model) > 10
        assert torch.equal(model(ids), before)
    assert hooks(model) == 0
    for look in (attention_maps, residual_stream, stream_statistics, logit_lens, activation_norms):
        look(model, ids)
    assert hooks(model) == 0
    assert torch.equal(model(ids), before)
