import dataclasses

import pytest
from lm_core import ModelConfig, derive
from lm_core.counts import parameter_count
from lm_core.errors import ConfigError
from lm_core.sizes import SIZES

PUBLISHED = {
    "gpt2": (124_439_808, "gpt2"),
    "gpt2-medium": (354_823_168, "gpt2"),
    "gpt2-large": (774_030_080, "gpt2"),
    "gpt2-xl": (1_557_611_200, "gpt2"),
    "smollm-135m": (134_515_008, "llama"),
    "qwen3-0.6b": (596_049_920, "qwen3"),
    "llama-3.2-1b": (1_235_814_400, "llama"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_size_has_its_published_number_of_parameters(name):
    config = ModelConfig.from_size(name)
    assert (parameter_count(config), config.family) == PUBLISHED[name]


def test_our_own_sizes_grow_and_load_elsewhere():
    counts = [parameter_count(ModelConfig.from_size(name)) for name in ("nano", "tiny", "small", "base")]
    assert counts == sorted(counts)
    assert all(ModelConfig.from_size(name).exportable for name in SIZES)
    assert dataclasses.replace(ModelConfig.from_size("nano"), vocab_size=256).vocab_size == 256


def test_an_unknown_size_lists_the_known_ones():
    with pytest.raises(ConfigError, match="there is no size 'huge'; there are nano, tiny, small, base, gpt2"):
        ModelConfig.from_size("huge")


@pytest.mark.parametrize("parameters", [400_000, 2_000_000, 10**7, 124 * 10**6, 10**9, 7 * 10**9])
def test_the_dial_of_parameters_comes_within_a_tenth_and_keeps_the_shape(parameters):
    vocab_size = 32_768 if parameters > 10**8 else 1024
    config = derive(parameters=parameters, vocab_size=vocab_size).config
    assert parameter_count(config) == pytest.approx(parameters, rel=0.1)
    assert 48 <= config.d_model / config.n_layers <= 96
    assert config.d_head == (64 if config.d_model >= 256 else 32)


def test_the_dial_of_depth_is_sixty_four_wide_a_layer():
    config = derive(depth=12, vocab_size=50_257, context=1024).config
    assert (config.n_layers, config.d_model, config.n_heads, config.d_ff) == (12, 768, 12, 2048)


def test_the_derivation_says_where_every_number_comes_from():
    derivation = derive(parameters=10**7, vocab_size=4096)
    text, config = str(derivation), derivation.config
    assert text.startswith("about 10,000,000 parameters are wanted, with a vocabulary of 4,096")
    for number in (config.n_layers, config.d_model, config.n_heads, config.d_ff, parameter_count(config)):
        assert f"{number:,}" in text
    assert "20 tokens a parameter" in text
    assert str(derive(depth=2, vocab_size=256)).startswith("depth 2 is given; d_model = 64 x 2 = 128")


@pytest.mark.parametrize(
    ("dial", "said"),
    [
        ({}, "exactly one of parameters and depth"),
        ({"parameters": 10**6, "depth": 3}, "exactly one of parameters and depth"),
        ({"parameters": 0}, "parameters must be from 1 to 1,000,000,000,000, got 0"),
        (
            {"parameters": 10**5},
            r"with a vocabulary of 32,000 the smallest model has [\d,]+ parameters, got 100,000",
        ),
        ({"depth": 0}, "depth must be a whole number from 1 to 4,096, got 0"),
        ({"depth": 10**9}, "depth must be a whole number from 1 to 4,096, got 1000000000"),
    ],
)
def test_a_dial_that_makes_no_sense_is_refused(dial, said):
    with pytest.raises(ConfigError, match=said):
        derive(vocab_size=32_000, **dial)
