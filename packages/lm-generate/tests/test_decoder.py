"""The packed form of a model against the model itself, and a row's bits against any company."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_generate.decoder import Decoder, decode_plainly
from lm_generate.kernel import native, packed_model
from lm_generate.kernel.packed import MIN_ROWS, PackedLinear, is_sound, pack
from lm_generate.kernel.packed_model import pack_model, padded
from tiny_engines import SHAPES, tiny_model

ODD = {"n_heads": 3, "d_head": 10, "n_kv_heads": 1, "d_model": 36, "d_ff": 50, "vocab_size": 333}
ALL_SHAPES = SHAPES | {
    "odd sizes": ODD,
    "qwen2": {"qkv_bias": True, "n_kv_heads": 1},
    "sinusoidal": {"position": "sinusoidal", "activation": "silu"},
    "no positions": {"position": "none", "activation": "relu2", "norm": "layer"},
    "capped and padded": {"logit_softcap": 5.0, "vocab_size": 321, "vocab_multiple": 64},
    "deep inside": {"d_model": 64, "n_heads": 2, "d_ff": 1344},  # sums longer than one block of a kernel
}
CHUNKS = [[5, 6, 7, 8, 9, 10, 11], [12], [13], list(range(20, 40)), [14]]


def normal(*shape):
    """The same numbers for the same shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def pack_or_skip(model):
    packed = pack_model(model)
    if packed is None:
        pytest.skip("this machine's torch has no sound packed kernels, so texts are decoded one by one here")
    return packed


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_the_packed_model_gives_the_models_own_logits(shape):
    model = tiny_model(**ALL_SHAPES[shape])
    packed = pack_or_skip(model)
    cache, plain = Decoder(model).new_cache(64), Decoder(model).new_cache(64)
    for ids in CHUNKS:
        got, wanted = packed([(cache, ids)])[0], decode_plainly(model, [(plain, ids)])[0]
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(cache.keys, plain.keys, rtol=1e-4, atol=1e-4)
    assert cache.length == plain.length == 30


@pytest.mark.parametrize("shape", ALL_SHAPES)
@settings(max_examples=8, deadline=None)
@given(st.lists(st.lists(st.integers(1, 9), min_size=5, max_size=5), min_size=1, max_size=40), st.data())
def test_a_texts_logits_have_the_same_bits_alone_and_in_any_company(shape, lengths, data):
    model = tiny_model(**ALL_SHAPES[shape])
    decode, new_cache = pack_or_skip(model), Decoder(model).new_cache
    tokens = np.random.default_rng(0).integers(0, 300, (len(lengths), 5, 9))
    watched = data.draw(st.integers(0, len(lengths) - 1))
    caches, alone = [new_cache(64) for _ in lengths], new_cache(64)
    for turn in range(5):
        work = [
            (cache, tokens[i, turn, : lengths[i][turn]].tolist())
            for i, cache in enumerate(caches)
            if lengths[i][turn] % 3 or i == watched  # neighbours come and go
        ]
        logits = decode(work)
        place = next(i for i, (cache, _) in enumerate(work) if cache is caches[watched])
        own = decode([(alone, work[place][1])])[0]
        assert np.array_equal(logits[place], own)


def test_changed_weights_are_packed_again(monkeypatch):
    monkeypatch.setattr("lm_generate.decoder.make_native", lambda model: None)
    model = tiny_model()
    decode = Decoder(model)
    before = decode([(decode.new_cache(8), [1, 2, 3])])[0]
    with torch.no_grad():
        model.blocks[0].attention.q.weight.mul_(3)
    after = decode([(decode.new_cache(8), [1, 2, 3])])[0]
    wanted = decode_plainly(model, [(decode.new_cache(8), [1, 2, 3])])[0]
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, wanted, rtol=1e-4, atol=1e-5)


def test_a_model_made_in_inference_mode_is_decoded_as_well():
    with torch.inference_mode():
        model = tiny_model()
        decode = Decoder(model)
        got = decode([(decode.new_cache(8), [1, 2])])[0]
        wanted = decode_plainly(model, [(decode.new_cache(8), [1, 2])])[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_packed_is_decoded_by_the_model_itself():
    model = tiny_model().to(torch.bfloat16)
    decode = Decoder(model)
    work = [(decode.new_cache(8), [1, 2, 3]), (decode.new_cache(8), [4])]
    plain = [(decode.new_cache(8), [1, 2, 3]), (decode.new_cache(8), [4])]
    for got, wanted in zip(decode(work), decode_plainly(model, plain), strict=True):
        assert np.array_equal(got, wanted)


def test_an_activation_that_no_kernel_has_is_left_to_the_model(monkeypatch):
    for table in (native.ACTIVATIONS, packed_model.ACTIVATIONS):
        monkeypatch.delitem(table, "relu2")
    model = tiny_model(activation="relu2")
    assert (native.make_native(model), pack_model(model)) == (None, None)
    decode = Decoder(model)
    (got,) = decode([(decode.new_cache(8), [1, 2, 3])])
    (wanted,) = decode_plainly(model, [(decode.new_cache(8), [1, 2, 3])])
    assert np.array_equal(got, wanted)


def test_a_sliding_window_is_left_to_the_model():
    assert pack_model(tiny_model(sliding_window=7)) is None


def test_a_kernel_whose_rows_depend_on_their_number_is_found_unsound():
    weight = normal(24, 16)

    class Moody(PackedLinear):
        def __call__(self, x):
            return x @ weight.T + (1e-7 if len(x) > MIN_ROWS else 0.0)

    class Wrong(PackedLinear):
        def __call__(self, x):
            return x @ weight.T * 1.01

    assert not is_sound(Moody(weight, None, "none"), weight)
    assert not is_sound(Wrong(weight, None, "none"), weight)


@pytest.mark.parametrize("activation", ["none", "swish", "relu", "gelu"])
@pytest.mark.parametrize("rows", [4, 5, 32, 77])
def test_a_packed_layer_is_the_linear_layer_with_its_activation(activation, rows):
    x, weight, bias = normal(rows, 40), normal(70, 40) / 6, normal(70)
    layer = pack(weight, bias, activation, proven=set())
    if layer is None:
        pytest.skip("this machine's torch has no sound packed kernels")
    y = x @ weight.T + bias
    wanted = {
        "none": y,
        "swish": torch.nn.functional.silu(y),
        "relu": y.clamp(min=0),
        "gelu": torch.nn.functional.gelu(y, approximate="tanh"),
    }[activation]
    torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)


def test_a_pass_has_few_different_numbers_of_rows():
    assert [padded(rows) for rows in (1, 4, 5, 32, 33, 48, 49)] == [4, 4, 8, 32, 48, 48, 64]
    assert all(0 <= padded(rows) - rows < 16 for rows in range(1, 600))
