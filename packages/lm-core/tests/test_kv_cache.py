import pytest
import torch
from lm_core import KVCache
from lm_core.errors import ConfigError, ShapeError
from tiny_models import VARIANTS, some_ids, tiny_config, tiny_model


@torch.no_grad()
def logits_in_pieces(model, ids, pieces):
    cache = KVCache(model.config, ids.shape[0])
    return torch.cat([model(piece, cache) for piece in ids.split(pieces, dim=1)], dim=1)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("pieces", [[1] * 12, [12], [5, 1, 1, 4, 1], [1, 11]])
def test_cached_logits_are_the_uncached_ones(variant, fast, batch, pieces):
    model, ids = tiny_model(variant, fast=fast), some_ids(batch, 12)
    torch.testing.assert_close(logits_in_pieces(model, ids, pieces), model(ids), atol=2e-6, rtol=1e-5)


def test_scaled_rotations_are_cached_like_plain_ones():
    from lm_core import RopeScaling

    model = tiny_model(rope_scaling=RopeScaling(kind="yarn", factor=2.0, original_context=20))
    ids = some_ids(2, 12)
    torch.testing.assert_close(logits_in_pieces(model, ids, [5, 1, 6]), model(ids), atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_a_truncated_cache_goes_on_as_if_the_rest_had_not_been():
    model, ids = tiny_model(), some_ids(2, 12)
    cache = KVCache(model.config, 2)
    model(ids, cache)
    cache.truncate(7)
    torch.testing.assert_close(model(ids[:, 7:], cache), model(ids)[:, 7:], atol=2e-6, rtol=1e-5)
    cache.reset()
    assert cache.length == 0
    torch.testing.assert_close(model(ids, cache), model(ids), atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_the_length_counts_tokens_and_moves_once_a_pass():
    model = tiny_model()
    cache = KVCache(model.config, 1, capacity=10)
    for expected in (4, 8):
        model(some_ids(1, 4), cache)
        assert cache.length == expected
    with pytest.raises(ShapeError, match="holds 8 of 10 tokens, so 3 more do not fit; truncate"):
        model(some_ids(1, 3), cache)
    assert cache.length == 8


def test_the_shapes_and_the_bytes():
    cache = KVCache(tiny_config("one key/value head"), 3, capacity=10, dtype=torch.bfloat16)
    assert cache.keys.shape == cache.values.shape == (2, 3, 1, 10, 8)
    assert cache.bytes == 2 * 2 * 3 * 10 * 8 * 2


def test_the_whole_context_is_the_capacity_unless_said_otherwise():
    assert KVCache(tiny_config(), 1).capacity == 40


@pytest.mark.parametrize("capacity", [0, -1, 41])
def test_a_capacity_outside_the_context_is_refused(capacity):
    with pytest.raises(ConfigError, match=f"from 1 to the model's context of 40 tokens, got {capacity}"):
        KVCache(tiny_config(), 1, capacity)


def test_a_batch_of_another_size_is_refused():
    with pytest.raises(ShapeError, match="made for a batch of 2, got 3 sequences"):
        tiny_model()(some_ids(3, 4), KVCache(tiny_config(), 2))


def test_a_cache_of_another_dtype_is_refused():
    with pytest.raises(
        ShapeError, match=r"holds torch.bfloat16 but the model computes torch.float32; make it with"
    ):
        tiny_model()(some_ids(1, 4), KVCache(tiny_config(), 1, dtype=torch.bfloat16))


@pytest.mark.parametrize("length", [-1, 1])
def test_a_cache_cannot_be_cut_to_what_it_does_not_hold(length):
    with pytest.raises(ConfigError, match=f"holds 0 tokens, so it cannot be cut to {length}"):
        KVCache(tiny_config(), 1).truncate(length)
