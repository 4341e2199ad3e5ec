"""What can be loaded, and what is refused, by name."""

import json
import logging
import os
import pickle

import pytest
import torch
from lm_core.errors import DamagedFileError
from lm_generate import load, newest_run
from lm_generate.errors import ModelSourceError, NoRunError, SettingError, TokenizerMismatchError
from lm_tokenizer import Tokenizer
from tiny_engines import END, TEXT, save_run, save_tiny, tiny_engine, tiny_tokenizer


def test_a_model_folder_writes_what_its_model_wrote_before_it_was_saved(tmp_path):
    loaded = load(save_tiny(tmp_path / "model"))
    end = tiny_tokenizer().special_tokens[END]
    assert (loaded.stop_ids, loaded.start_id) == (frozenset([end]), end)
    options = {"max_tokens": 30, "seed": 1}
    assert loaded.generate("def", **options).ids == tiny_engine().generate("def", **options).ids


def test_a_folder_of_transformers_loads_with_a_note_in_the_log(tmp_path, caplog):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, bos_token_id=1, eos_token_id=[7, 9],
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save(tmp_path)
    with caplog.at_level(logging.INFO, logger="lm_generate"):
        engine = load(tmp_path)
    assert "has no manifest.json, so it was not made here" in caplog.text
    assert (engine.stop_ids, engine.start_id) == (frozenset([7, 9]), 1)
    assert engine.generate("def", max_tokens=4, temperature=0).prompt_tokens >= 1


def test_a_run_loads_its_newest_checkpoint(tmp_path):
    run = save_run(tmp_path, "a", 9, 10, 8)
    engine = load(run)
    assert engine.folder == run / "checkpoints" / "step-00000010"


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_loads(tmp_path, caplog):
    run = save_run(tmp_path, "a", 1, 2)
    weights = run / "checkpoints" / "step-00000002" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    engine = load(run)
    assert engine.folder == run / "checkpoints" / "step-00000001"
    assert str(weights) in caplog.text
    assert weights.exists()
    with pytest.raises(DamagedFileError, match=r"step-00000002/model\.safetensors"):
        load(weights.parent)


def test_a_run_whose_every_checkpoint_is_damaged_is_refused_naming_the_files(tmp_path):
    run = save_run(tmp_path, "a", 1)
    (run / "checkpoints" / "step-00000001" / "config.json").write_text("{}")
    with pytest.raises(DamagedFileError, match=r"no checkpoint of the run .* is whole:\n.*config\.json"):
        load(run)


def test_the_newest_run_is_the_one_whose_checkpoint_was_written_last(tmp_path):
    old, new = save_run(tmp_path, "b", 500), save_run(tmp_path, "a", 3)
    (tmp_path / "c" / "checkpoints").mkdir(parents=True)
    (tmp_path / "d" / "checkpoints" / ".tmp-step-00000009").mkdir(parents=True)
    (tmp_path / "note.txt").write_text("no run")
    for place, run in enumerate((old, new)):
        for manifest in run.glob("checkpoints/*/manifest.json"):
            os.utime(manifest, (1000 + place, 1000 + place))
    assert newest_run(tmp_path) == new


def test_no_run_yet_names_the_command_that_trains_one(tmp_path):
    with pytest.raises(NoRunError, match="does not exist; train one with `uv run --package lm-train train`"):
        newest_run(tmp_path / "runs")
    with pytest.raises(NoRunError, match="holds no run with a checkpoint; train one"):
        newest_run(tmp_path)
    (tmp_path / "a" / "checkpoints").mkdir(parents=True)
    with pytest.raises(NoRunError, match="has no finished checkpoint yet"):
        load(tmp_path / "a")


def test_another_tokenizer_than_the_models_is_refused_with_both_fingerprints(tmp_path):
    folder = save_tiny(tmp_path / "model", facts={"tokenizer_fingerprint": "0" * 64})
    with pytest.raises(
        TokenizerMismatchError, match=rf"{tiny_tokenizer().fingerprint} and the manifest's is 000"
    ):
        load(folder)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path):
    folder = save_tiny(tmp_path / "model")
    (folder / "manifest.json").unlink()
    Tokenizer.train(texts=[TEXT], vocab_size=330, special_tokens=(END,)).save(folder)
    with pytest.raises(TokenizerMismatchError, match="has ids up to 329, but the model's vocabulary is 320"):
        load(folder)


class Trap:
    def __reduce__(self):
        return (os.mkdir, ("trap-was-opened",))


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "checkpoint.ckpt", "model.pkl"])
def test_a_pickle_is_refused_unopened_and_told_what_to_become(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelSourceError, match=rf"{name} is a pickle, .* save it as model\.safetensors"):
        load(tmp_path / name)
    assert not (tmp_path / "trap-was-opened").exists()


def test_a_folder_whose_weights_are_a_pickle_is_refused_naming_it(tmp_path):
    folder = save_tiny(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelSourceError, match=r"pytorch_model\.bin is a pickle"):
        load(folder)


def test_what_holds_no_model_is_told_what_is_missing(tmp_path):
    with pytest.raises(ModelSourceError, match=r"there is no folder .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelSourceError, match=r"holds no model: neither config\.json"):
        load(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(ModelSourceError, match="is a file: give the folder"):
        load(tmp_path / "x.safetensors")
    folder = save_tiny(tmp_path / "model")
    (folder / "manifest.json").unlink()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelSourceError, match=r"has no tokenizer\.json"):
        load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"eos_token_id": 320}', r"the end or begin id 320 is outside the vocabulary \(0..319\)"),
        ('{"eos_token_id": "x"}', "the end or begin id 'x'"),
        ("{", "is not valid JSON"),
        ("[]", "must hold a JSON object, got a list"),
    ],
)
def test_a_bad_generation_config_is_refused_by_name(tmp_path, content, message):
    folder = save_tiny(tmp_path / "model")
    (folder / "manifest.json").unlink()
    (folder / "generation_config.json").write_text(content)
    with pytest.raises(ModelSourceError, match=rf"generation_config\.json.*{message}"):
        load(folder)


def test_without_ids_in_the_folder_the_tokenizers_end_token_ends_and_begins_a_text(tmp_path):
    folder = save_tiny(tmp_path / "model")
    (folder / "manifest.json").unlink()
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config.pop("eos_token_id", None), config.pop("bos_token_id", None)
    (folder / "config.json").write_text(json.dumps(config))
    engine = load(folder)
    end = tiny_tokenizer().special_tokens[END]
    assert (engine.stop_ids, engine.start_id) == (frozenset([end]), end)


def test_dtype_and_device_are_the_callers(tmp_path):
    folder = save_tiny(tmp_path / "model")
    engine = load(folder, dtype=torch.bfloat16, device="cpu")
    assert engine.dtype == torch.bfloat16
    assert len(engine.generate("def", max_tokens=5, seed=0, stop_ids=()).ids) == 5
    with pytest.raises(SettingError, match=r"device 'gpu9' cannot be used here \(.*\); cpu always can"):
        load(folder, device="gpu9")


def test_verify_false_looks_at_sizes_only(tmp_path):
    folder = save_tiny(tmp_path / "model")
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    load(folder, verify=False)
    weights.write_bytes(data + b"x")
    with pytest.raises(DamagedFileError, match=r"model\.safetensors"):
        load(folder, verify=False)
