"""Settings in files: TOML and YAML in, TOML out, unknown keys and wrong types named."""

from dataclasses import replace

import pytest
from lm_core.counts import parameter_count
from lm_train.config import ModelOptions, OptimConfig, SampleConfig, TrainConfig
from lm_train.config_file import build, differences, merge, read_config, read_settings, recipes, to_toml
from lm_train.errors import ConfigError
from lm_train.opening import model_config
from lm_train.parallel.world_plan import GPUS, plan_world, world_lines


@pytest.fixture
def file(tmp_path):
    def write(text, name="run.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\nd_modle = 3", r"run\.toml: unknown key model\.d_modle; did you mean model\.d_model\?"),
        ("step = 3", r"unknown key step; did you mean steps\?"),
        ("lr = 0.1", r"unknown key lr; did you mean optim\.lr\?"),
        ("[modle]\nd_model = 3", r"unknown key modle; did you mean model\.?"),
        ("zzzzzzzz = 3", r"unknown key zzzzzzzz; known: batch, checkpoint, compile, data,"),
        ('steps = "many"', r'run\.toml: steps must be a whole number, got "many"'),
        ("steps = 1.5", r"steps must be a whole number, got 1\.5"),
        ("steps = true", r"steps must be a whole number, got true"),
        ('[optim]\nlr = "fast"', r'optim\.lr must be a number, got "fast"'),
        ('[model]\nqk_norm = "yes"', r"model\.qk_norm must be true or false"),
        ('[model]\nnorm = "batch"', r'model\.norm must be one of "rms", "layer", got "batch"'),
        ("model = 3", r"model is a table of settings, got 3"),
        ('[samples]\nprompts = "x"', r"samples\.prompts must be a list, each text"),
        ("data = 4", r"data must be text, got 4"),
        ("a = = 3", r"run\.toml: not valid TOML"),
        ("minutes = -1", r"minutes must be above 0"),
    ],
)
def test_a_mistake_in_a_file_is_named(file, text, message):
    with pytest.raises(ConfigError, match=message):
        read_config([file(text)])


def test_a_missing_file_names_the_nearest_recipe():
    with pytest.raises(
        ConfigError, match=r"--config shakespaere: no such file or recipe; did you mean shakespeare\?"
    ):
        read_settings("shakespaere")


def test_a_folder_or_a_binary_file_is_no_settings_file(tmp_path):
    with pytest.raises(ConfigError, match="a folder; give a TOML or YAML file"):
        read_settings(str(tmp_path))
    (tmp_path / "config.toml").touch()
    with pytest.raises(ConfigError, match=r"a folder; give its config\.toml"):
        read_settings(str(tmp_path))
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        read_settings(str(tmp_path / "x.toml"))
    (tmp_path / "x.ini").write_text("")
    with pytest.raises(ConfigError, match=r"must end in \.toml, \.yaml or \.yml"):
        read_settings(str(tmp_path / "x.ini"))


def test_yaml_means_the_same_as_toml(file):
    yaml = file("steps: 5\nmodel:\n  d_model: 32\nsamples: {prompts: [a, b]}\n", "run.yaml")
    toml = file('steps = 5\n[model]\nd_model = 32\n[samples]\nprompts = ["a", "b"]')
    assert read_config([yaml]) == read_config([toml])
    assert read_config([file("optim: {lr: 3e-4}", "power.yaml")]).optim.lr == 3e-4
    assert read_config([file("", "empty.yml")]) == TrainConfig()
    with pytest.raises(ConfigError, match="a table of settings is wanted, got list"):
        read_config([file("- 1", "list.yaml")])
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_config([file("a: [", "torn.yaml")])


def test_a_yaml_file_runs_no_code(file):
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_config([file("data: !!python/object/apply:os.getcwd []", "evil.yaml")])


def test_later_files_win_key_by_key(file):
    first = file("batch = 4\n[model]\nd_model = 32\nn_layers = 2", "a.toml")
    second = file("[model]\nd_model = 64", "b.toml")
    config = read_config([first, second])
    assert (config.batch, config.model.d_model, config.model.n_layers) == (4, 64, 2)


def test_a_later_budget_replaces_an_earlier_one_of_another_unit():
    assert merge([{"minutes": 5.0}, {"steps": 10}]) == {"steps": 10}
    assert merge([{"minutes": 5.0}, {"batch": 1}]) == {"minutes": 5.0, "batch": 1}


def test_printed_settings_read_back_to_the_same_config(file):
    config = TrainConfig(
        steps=5,
        seed=3,
        data='we "quote" \\ things',
        model=ModelOptions(n_kv_heads=2),
        optim=OptimConfig(lr=1e-5),
        samples=SampleConfig(prompts=("a\nb", "ü")),
    )
    assert read_config([file(to_toml(config))]) == config
    assert read_config([file(to_toml(TrainConfig()))]) == TrainConfig()


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_is_a_valid_config_with_a_budget(name):
    config = read_config([name])
    assert config.minutes or config.steps or config.tokens
    assert differences(config)


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_comes_back_from_its_own_toml_and_has_a_shape_that_can_be_planned(name, file):
    config = read_config([name])
    assert read_config([file(to_toml(config))]) == config
    shape = model_config(config.model, config.vocab_size)
    world = 8 if config.batch % 8 == 0 else 1
    lines = world_lines(config, shape, world, "h100", per_machine=8, mfu=0.4, price=None)
    assert "MORE THAN A GPU HAS" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "parameters", "memory"),
    [("gpt2-124m-one-gpu", 124_475_904, 24e9), ("llama-350m-one-gpu", 348_701_696, 24e9)],
)
def test_the_recipes_for_one_gpu_fit_it_and_have_the_size_in_their_name(name, parameters, memory):
    config = replace(read_config([name]), dtype="bfloat16")
    shape = model_config(config.model, config.vocab_size)
    assert parameter_count(shape) == pytest.approx(parameters, rel=0.001)
    assert plan_world(config, shape, 1, GPUS["h100"]).memory < 0.8 * memory


def test_there_are_recipes_for_the_named_texts():
    assert {
        "nano",
        "shakespeare",
        "shakespeare-chars",
        "stories",
        "tinystories",
        "tinystories-laptop",
        "gpt2-124m",
        "llama-350m",
    } <= set(recipes())


def test_the_recipe_tinystories_has_the_shape_of_the_course():
    config = read_config(["tinystories"])
    shape = config.model
    assert (config.vocab_size, shape.context, shape.d_model, shape.n_layers, shape.n_heads, shape.d_ff) == (
        10_000,
        256,
        512,
        4,
        16,
        1344,
    )


def test_differences_name_the_key_and_both_values():
    assert differences(build({"seed": 1, "model": {"d_model": 64}})) == [
        ("seed", 0, 1),
        ("model.d_model", 128, 64),
    ]
