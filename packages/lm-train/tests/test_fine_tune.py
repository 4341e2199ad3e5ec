"""A run that starts from another model's weights."""

from dataclasses import replace

import pytest
import torch
from lm_core import Transformer, load_model, read_config, save_model
from lm_train import cli
from lm_train.checkpoint import checkpoints
from lm_train.config import ModelOptions, SampleConfig
from lm_train.config_file import read_config as read_settings
from lm_train.errors import ConfigError
from lm_train.fine_tune import start_model, with_shape_of_start
from lm_train.opening import model_config
from lm_train.run import resume, train
from tiny_runs import rows, tiny_config, tiny_corpus, tiny_text


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a corpus, another text, and the finished run `first`."""
    folder = tmp_path_factory.mktemp("fine_tune")
    tiny_corpus(folder)
    (folder / "other.txt").write_text(tiny_text(seed=5))
    train(tiny_config(folder, name="first"))
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


def tuned(home, name, **changes):
    window = ModelOptions(context=16)
    return tiny_config(
        home,
        name=name,
        data=str(home / "other.txt"),
        init_from=str(home / "runs/first"),
        model=window,
        **changes,
    )


def test_the_first_step_begins_at_the_other_runs_weights(home):
    config = with_shape_of_start(tuned(home, "x"))
    last = checkpoints(home / "runs/first/checkpoints")[-1]
    assert (config.model.d_model, config.model.n_layers, config.model.d_ff) == (16, 2, 32)
    assert config.tokenizer == str(last / "tokenizer.json")
    model = start_model(config, model_config(config.model, 300))
    wanted = load_model(last).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_a_fine_tuned_run_starts_better_and_resumes_exactly(home):
    whole = train(tuned(home, "whole"))
    losses = [row["loss"] for row in rows(whole.folder / "metrics.jsonl") if "loss" in row]
    fresh = train(tiny_config(home, name="fresh", data=str(home / "other.txt")))
    from_seed = [row["loss"] for row in rows(fresh.folder / "metrics.jsonl") if "loss" in row]
    assert losses[0] < from_seed[0] - 0.2
    train(replace(tuned(home, "parts"), steps=6))
    resume(home / "runs/parts", replace(read_settings([str(home / "runs/parts/config.toml")]), steps=12))
    assert (home / "runs/parts/config.toml").read_text() == (whole.folder / "config.toml").read_text()


def test_a_hugging_face_folder_is_a_start_too(home, tmp_path):
    """What transformers saves has no manifest and a shape of its own: grouped heads, tied embeddings, a longer context."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    hf = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=320,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=True,
        )
    )
    hf.save_pretrained(tmp_path)
    config = replace(tuned(home, "llama"), init_from=str(tmp_path))
    with pytest.raises(ConfigError, match=r"has no tokenizer.json; name the tokenizer"):
        train(config)
    tokenizer = checkpoints(home / "runs/first/checkpoints")[-1] / "tokenizer.json"
    result = train(replace(config, tokenizer=str(tokenizer), samples=SampleConfig(tokens=2)))
    shape = read_config(result.checkpoint)
    assert (shape.vocab_size, shape.context, shape.n_kv_heads, shape.tie_embeddings) == (320, 64, 2, True)


def test_windows_that_nobody_asked_for_are_as_long_as_the_model_sees(home):
    config = with_shape_of_start(replace(tuned(home, "x"), model=ModelOptions()))
    assert ModelOptions().context > config.model.context == 16


def test_what_does_not_fit_the_model_is_refused_by_name(home, tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match=r"--model.d-model 64: the model in .* has 16; leave it out"):
        train(replace(tuned(home, "x"), model=ModelOptions(context=16, d_model=64)))
    with pytest.raises(ConfigError, match="sees at most 16 tokens"):
        train(replace(tuned(home, "x"), model=ModelOptions(context=17)))
    with pytest.raises(ConfigError, match=r"neither a model folder .* nor a run with a checkpoint"):
        train(replace(tuned(home, "x"), init_from=str(home)))
    small = replace(read_config(checkpoints(home / "runs/first/checkpoints")[-1]), vocab_size=100)
    save_model(Transformer(small), tmp_path / "small")
    tokenizer = str(checkpoints(home / "runs/first/checkpoints")[-1] / "tokenizer.json")
    with pytest.raises(ConfigError, match="knows 100 tokens, the dataset's tokenizer has 300"):
        train(replace(tuned(home, "x"), init_from=str(tmp_path / "small"), tokenizer=tokenizer))
    assert not (home / "runs/x").exists()
    monkeypatch.chdir(tmp_path)
    assert cli.run(["--init-from", "nowhere"]) == 2
    assert "--init-from nowhere: neither a model folder" in capsys.readouterr().err
