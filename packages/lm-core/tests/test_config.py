import contextlib
import dataclasses
import math
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_core import ModelConfig, RopeScaling
from lm_core.counts import parameter_count
from lm_core.errors import ConfigError, LmCoreError
from tiny_models import GPT2


def test_what_is_left_out_is_filled_in():
    config = ModelConfig(vocab_size=100, d_model=384, n_heads=6)
    assert (config.n_kv_heads, config.d_head, config.d_ff) == (6, 64, 1024)
    assert ModelConfig(vocab_size=100, d_model=128).d_ff == 384
    assert ModelConfig(vocab_size=100, d_model=128, activation="relu2").d_ff == 512


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vocab_size": 0}, "vocab_size must be from 1 to 16,777,216, got 0"),
        ({"n_layers": 10**9}, "n_layers must be from 1 to 10,000, got 1,000,000,000"),
        ({"d_model": -64}, "d_model must be from 1 to"),
        ({"d_model": 64.0}, "d_model must be a whole number, got 64.0"),
        ({"n_layers": True}, "n_layers must be a whole number, got True"),
        ({"context": "128"}, "context must be a whole number, got '128'"),
        ({"n_heads": 3}, r"n_heads \(3\) must divide d_model \(256\); or give d_head"),
        ({"n_kv_heads": 3}, r"n_kv_heads \(3\) must divide n_heads \(4\)"),
        ({"d_head": 33}, "d_head must be even, got 33"),
        ({"d_model": 33, "d_head": 4, "position": "sinusoidal"}, "d_model must be even, got 33"),
        ({"rope_theta": math.nan}, "rope_theta must be a finite number"),
        ({"rope_theta": 10**400}, "rope_theta must be a finite number"),
        ({"rope_theta": 0.0}, "rope_theta must be above"),
        ({"norm_eps": -1e-5}, "norm_eps must be above 0"),
        ({"norm_eps": math.inf}, "norm_eps must be a finite number"),
        ({"norm_eps": 2.0}, "norm_eps must be below 1"),
        ({"bias": 1}, "bias must be true or false, got 1"),
        ({"position": "alibi"}, "position must be one of rope, learned, sinusoidal, none, got 'alibi'"),
        ({"norm": "batch"}, "norm must be one of rms, layer"),
        ({"activation": None}, "activation must be one of"),
        ({"init": ["gpt2"]}, "init must be one of"),
        ({"bias": True, "qkv_bias": True}, "leave qkv_bias False"),
        ({"rope_scaling": {"kind": "linear"}}, "must be a RopeScaling or None"),
        (
            {"position": "none", "rope_scaling": RopeScaling(kind="linear", factor=2.0)},
            'needs position="rope"',
        ),
        ({"sliding_window": 256}, r"sliding_window \(256\) is not smaller than the context \(256\)"),
        ({"sliding_window": 0}, "sliding_window must be from 1 to"),
        ({"dropout": 1.0}, "dropout must be a number from 0 to below 1, got 1.0"),
        ({"dropout": math.nan}, "dropout must be a number from 0"),
        ({"logit_softcap": 0}, "logit_softcap must be a finite number above 0 or None, got 0"),
        ({"logit_softcap": "30"}, "logit_softcap must be a finite number"),
        ({"vocab_multiple": 0}, "vocab_multiple must be from 1 to"),
        ({"init": "mup", "tie_embeddings": True}, "different rules, so tie_embeddings must be False"),
        ({"n_layers": 10_000, "d_model": 2**16, "n_heads": 2**6}, "parameters; at most 1,000,000,000,000"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused_with_the_reason(changes, said):
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**{"vocab_size": 100, **changes})


ANYTHING = st.one_of(
    st.integers(-(10**12), 10**12),
    st.integers(-2, 100),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # the first draw imports much
@given(fields=st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(ModelConfig)]), ANYTHING))
def test_any_fields_give_a_sound_config_or_our_own_error_at_once(fields):
    start = time.monotonic()
    with contextlib.suppress(LmCoreError):
        config = ModelConfig(**{"vocab_size": 100, **fields})
        assert config.n_heads % config.n_kv_heads == 0
        assert 0 < parameter_count(config) <= 10**12
    assert time.monotonic() - start < 5  # nothing was allocated or built


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({}, "llama"),
        ({"bias": True, "tie_embeddings": True}, "llama"),
        ({"qkv_bias": True}, "qwen2"),
        ({"qk_norm": True, "d_head": 128}, "qwen3"),
        ({"sliding_window": 64}, "mistral"),
        ({"sliding_window": 64, "qkv_bias": True}, "qwen2"),
        (GPT2, "gpt2"),
    ],
)
def test_published_blocks_are_recognised(changes, family):
    config = ModelConfig(vocab_size=100, **changes)
    assert config.exportable
    assert config.why_not_exportable is None
    assert config.family == family


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"position": "sinusoidal"}, 'position="sinusoidal"'),
        ({"position": "none"}, 'position="none"'),
        ({"activation": "relu2"}, 'activation="relu2"'),
        ({"activation": "silu"}, 'activation="silu"'),
        ({"norm": "layer"}, 'norm="layer" with rope'),
        ({"qk_norm": True, "qkv_bias": True}, "qk_norm with biases"),
        ({"sliding_window": 64, "bias": True}, "a Mistral block has no biases"),
        ({**GPT2, "sliding_window": 64}, "sliding_window=None"),
        ({"logit_softcap": 30.0}, "logit_softcap=30.0"),
        ({**GPT2, "bias": False}, "bias=True"),
        ({**GPT2, "n_kv_heads": 2}, "n_kv_heads=n_heads"),
        ({**GPT2, "d_head": 32}, "d_head=d_model/n_heads"),
        ({"position": "learned"}, 'norm="layer", activation="gelu", bias=True'),
    ],
)
def test_what_no_published_block_has_is_named_when_it_is_chosen(changes, said):
    config = ModelConfig(vocab_size=100, **changes)
    assert not config.exportable
    assert said in config.why_not_exportable
    assert config.family == "lm_core"
