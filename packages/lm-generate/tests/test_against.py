"""`verify --against transformers`: agreement is found, and so is a difference."""

import sys

import pytest
import torch
from lm_core import save_model
from lm_generate import load
from lm_generate.against import TOLERANCE, compare
from lm_generate.cli import run
from lm_generate.errors import ModelSourceError, SettingError
from tiny_engines import SHAPES, save_run, save_tiny, tiny_engine, tiny_model, tiny_tokenizer


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_models_that_both_can_read_agree(shape, tmp_path):
    model = tiny_model(**SHAPES[shape])
    save_model(model, tmp_path / "m", kind="model", facts={}, add_files=tiny_tokenizer().save)
    found = compare(load(tmp_path / "m"), tmp_path / "m")
    assert found.agrees
    assert 0 < found.difference < TOLERANCE < found.largest
    assert found.same == found.written == 4 * 32
    assert found.positions == 4 * 64


def test_other_weights_differ(tmp_path):
    folder = save_tiny(tmp_path / "m")
    found = compare(tiny_engine(seed=1), folder)
    assert not found.agrees
    assert found.difference > 0.1
    assert found.same < found.written
    broken = load(folder)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    assert not compare(broken, folder).agrees


def test_the_command_tells_it_in_a_line_and_by_its_exit_code(tmp_path, capsys, monkeypatch):
    folder = str(save_run(tmp_path, "run", 3))
    assert run(["verify", folder, "--against", "transformers"]) == 0
    out = capsys.readouterr().out
    assert "step-00000003: agrees with transformers: logits within" in out
    assert "128 of 128 greedy tokens the same" in out
    assert run(["verify", folder, "--against", "transformers", "--tolerance", "0"]) == 1
    assert "differs from transformers" in capsys.readouterr().out
    assert run(["verify", folder, "--tolerance", "1"]) == 2
    assert run(["verify", folder, "--against", "transformers", "--tolerance", "-1"]) == 2
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert run(["verify", folder, "--against", "transformers"]) == 2
    assert "pip install transformers" in capsys.readouterr().err


def test_a_model_that_transformers_does_not_know_is_told(tmp_path):
    model = tiny_model(position="sinusoidal")
    save_model(model, tmp_path / "m", kind="model", facts={}, add_files=tiny_tokenizer().save)
    with pytest.raises(ModelSourceError, match="transformers cannot load"):
        compare(load(tmp_path / "m"), tmp_path / "m")
    with pytest.raises(SettingError, match="tolerance must be"):
        compare(load(tmp_path / "m"), tmp_path / "m", tolerance=-1)
