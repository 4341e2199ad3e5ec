import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_core import ModelConfig, RopeScaling, read_config
from lm_core.errors import ConfigError, DamagedFileError, LmCoreError, ModelFolderError
from lm_core.hf_config import config_from_json, config_to_json
from tiny_models import GPT2, VARIANTS, tiny_config

SCALINGS = [
    RopeScaling(kind="linear", factor=2.0),
    RopeScaling(kind="llama3", factor=8.0, original_context=20, low_freq_factor=1.0, high_freq_factor=3.0),
    RopeScaling(kind="yarn", factor=4.0, original_context=10, attention_factor=1.5),
]


def as_json(config):
    return json.loads(json.dumps(config_to_json(config, "float32", None, None)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_config_comes_back_from_its_json(variant):
    assert config_from_json(as_json(tiny_config(variant))) == tiny_config(variant)


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda scaling: scaling.kind)
@pytest.mark.parametrize("keep", ["rope_parameters", "rope_scaling"])
def test_a_scaled_rotation_is_read_in_either_spelling(scaling, keep):
    config = tiny_config(rope_scaling=scaling, rope_theta=500.0)
    data = as_json(config)
    assert config_from_json(data) == config
    del data["rope_scaling" if keep == "rope_parameters" else "rope_parameters"]
    assert config_from_json(data) == config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"attention_bias": True}, "attention_bias = True with mlp_bias = False"),
        ({"mlp_bias": True}, "mlp_bias = True"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
        ({"sliding_window": 16}, "sliding_window = 16, smaller than the context of 40, in a llama"),
        ({"layer_types": ["sliding_attention"]}, "layer_types with sliding_attention, but no sliding_window"),
        ({"sliding_window": "all"}, "sliding_window = 'all'"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "layer_types with chunked_attention"),
        ({"layer_types": 3}, "layer_types = 3"),
        ({"sliding_window": 16, "max_position_embeddings": "many"}, "sliding_window = 16"),
        ({"max_position_embeddings": "many"}, "context must be a whole number, got 'many'"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
        ({"num_local_experts": 8}, "num_local_experts = 8"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"embedding_multiplier": 12}, "embedding_multiplier = 12"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope scaling of type 'dynamic'"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "rope scaling of type 'longrope'"),
        ({"rope_parameters": {"rope_type": ["linear"]}}, "rope scaling of type"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "rope setting full_attention"),
        ({"rope_parameters": {"rope_type": "linear"}}, "without a factor"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor = 0.5",
        ),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "mscale": 0.7}}, "mscale = 0.7"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "they must agree"),
        ({"rope_parameters": "default"}, "not an object"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default"}},
            "different rotations",
        ),
        ({"rope_scaling": {"type": "linear", "factor": "two"}}, "factor must be a finite number"),
        ({"model_type": "gemma2"}, "model_type is 'gemma2'; only llama, mistral"),
        ({"model_type": None}, "model_type is None"),
        ({"vocab_size": None, "hidden_size": None}, "lacks vocab_size, hidden_size"),
    ],
)
def test_a_setting_that_changes_the_formula_is_refused_by_name(changes, named):
    with pytest.raises((ModelFolderError, ConfigError), match=named):
        config_from_json(as_json(tiny_config()) | changes)


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("qwen3", {"attention_bias": True}, "attention_bias = True"),
        ("qwen3", {"head_dim": None}, "lacks head_dim"),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
            "max_window_layers = 1 of 2 layers",
        ),
        (
            "qwen3 with a window",
            {"layer_types": ["sliding_attention", "full_attention"]},
            "layer_types of both kinds",
        ),
        ("mistral", {"sliding_window": 0}, "sliding_window = 0"),
        ("mistral", {"sliding_window": True}, "sliding_window = True"),
        ("qwen2", {"layer_types": ["sliding_attention"]}, "layer_types with sliding_attention"),
        ("qwen2", {"num_key_value_heads": None}, "lacks num_key_value_heads"),
        ("gpt2", {"activation_function": "relu"}, "activation_function = 'relu'"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
        ("sinusoidal, relu2", {"lm_core": {"vocab_size": 5, "d_modle": 3}}, "d_modle = 3"),
        ("sinusoidal, relu2", {"lm_core": None}, 'needs an object "lm_core"'),
        (
            "sinusoidal, relu2",
            {"lm_core": {"vocab_size": 5, "rope_scaling": {"kind": "linear", "speed": 2}}},
            "speed",
        ),
    ],
)
def test_the_other_families_are_as_strict(family, changes, named):
    with pytest.raises((ModelFolderError, ConfigError), match=named):
        config_from_json(as_json(tiny_config(family)) | changes)


def test_a_mistral_window_is_in_use_unless_it_covers_the_context():
    data = as_json(tiny_config()) | {"model_type": "mistral", "sliding_window": None}
    assert config_from_json(data).family == "llama"
    assert config_from_json(data | {"sliding_window": 40}).family == "llama"
    assert config_from_json(data | {"sliding_window": 39}).sliding_window == 39
    assert config_from_json(data | {"sliding_window": 39}).family == "mistral"
    del data["sliding_window"]
    assert config_from_json(data).sliding_window is None
    assert config_from_json(data | {"max_position_embeddings": 8192}).sliding_window == 4096


def test_a_qwen_window_counts_from_its_first_windowed_layer():
    data = as_json(tiny_config("qwen2")) | {"use_sliding_window": True, "sliding_window": 8}
    assert config_from_json(data).sliding_window is None  # max_window_layers is the number of layers
    assert config_from_json(data | {"max_window_layers": 0}).sliding_window == 8
    assert (
        config_from_json(data | {"use_sliding_window": False, "max_window_layers": 0}).sliding_window is None
    )
    assert config_from_json(data | {"layer_types": ["sliding_attention"] * 2}).sliding_window == 8
    assert config_from_json(data | {"layer_types": ["full_attention"] * 2}).sliding_window is None


def test_dropout_and_padding_come_back_from_a_note_that_others_pass_over():
    config = tiny_config("gpt2", dropout=0.1, vocab_multiple=16)
    assert as_json(config)["lm_core"] == {"init": "fan_in", "dropout": 0.1, "vocab_multiple": 16}
    assert as_json(config)["vocab_size"] == 61
    assert config_from_json(as_json(config)) == config


def test_what_older_files_leave_out_is_read_as_transformers_does():
    data = as_json(tiny_config())
    for name in (
        "head_dim",
        "num_key_value_heads",
        "rope_parameters",
        "rope_theta",
        "tie_word_embeddings",
        "attention_bias",
    ):
        del data[name]
    config = config_from_json(data)
    assert (config.d_head, config.n_kv_heads, config.rope_theta, config.tie_embeddings) == (
        8,
        4,
        10_000.0,
        False,
    )
    gpt2 = as_json(ModelConfig(vocab_size=61, **GPT2))
    del gpt2["tie_word_embeddings"], gpt2["n_inner"]
    assert (config_from_json(gpt2).tie_embeddings, config_from_json(gpt2).d_ff) == (True, 1024)


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("variant", ["llama", "qwen3", "gpt2", "sinusoidal, relu2"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_field_of_any_value_gives_a_config_or_our_own_error(variant, data):
    fields = as_json(tiny_config(variant))
    target = fields if variant != "sinusoidal, relu2" else fields["lm_core"]
    names = st.sampled_from([*target, "sliding_window", "layer_types", "rope_scaling", "rope_parameters"])
    changes = data.draw(st.dictionaries(names, ANYTHING, max_size=2))
    target.update(changes)
    with contextlib.suppress(LmCoreError):
        assert isinstance(config_from_json(fields), ModelConfig)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "null", '{"a": ' * 100_000, "\ud800".encode("utf-16", "surrogatepass").decode("latin-1")],
)
def test_a_config_that_is_no_json_object_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(DamagedFileError, match=r"config\.json (is not valid JSON|holds)"):
        read_config(tmp_path)


def test_a_folder_without_a_config_says_so(tmp_path):
    with pytest.raises(ModelFolderError, match=r"config\.json is missing"):
        read_config(tmp_path)
