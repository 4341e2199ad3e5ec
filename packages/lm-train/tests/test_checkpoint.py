"""Checkpoints appear whole or not at all; damage is named and set aside; pruning never removes the only good one."""

import errno
import json
import shutil
import warnings

import lm_train.checkpoint as checkpoint_module
import pytest
import torch
import torch.distributed.checkpoint as dcp
from lm_core.manifest import DiskFullError, digest_file, read_manifest
from lm_train import cli
from lm_train.checkpoint import checkpoint_path, checkpoints, newest_verified, prune
from lm_train.config import CheckpointConfig, EvaluateConfig, ModelOptions
from lm_train.config_file import read_config, to_toml
from lm_train.run import resume, train
from lm_train.run_errors import CheckpointError
from lm_train.state import KeptState, RunState, read_record, write_state
from lm_train.verify import verify_path
from tiny_runs import rows, tiny_config, tiny_corpus
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_corpus(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_train.run.write_report", lambda run: run.report)
        train(tiny_config(folder))
    return folder


@pytest.fixture
def run(home, tmp_path):
    """A copy of a finished run with checkpoints at steps 8 and 12."""
    return shutil.copytree(home / "runs" / "tiny", tmp_path / "tiny")


def continued(run):
    return resume(run, read_config([str(run / "config.toml")]))


def test_a_checkpoint_is_a_model_folder_with_its_tokenizer_state_and_facts(run):
    newest = checkpoints(run / "checkpoints")[-1]
    names = {path.relative_to(newest).as_posix() for path in newest.rglob("*") if path.is_file()}
    assert names == {
        "config.json",
        "model.safetensors",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "manifest.json",
        "state/state.json",
        "state/shard-00001-model-00001-of-00001.safetensors",
    }
    manifest = read_manifest(newest)
    assert manifest.kind == "checkpoint"
    assert {"step": 12, "tokens": 384}.items() <= manifest.facts.items()
    assert manifest.facts.keys() == {
        "step",
        "tokens",
        "versions",
        "tokenizer_fingerprint",
        "dataset_fingerprint",
        "config_hash",
    }


def test_a_flipped_byte_in_any_file_is_named_and_the_checkpoint_before_is_used(run):
    newest = checkpoints(run / "checkpoints")[-1]
    for path in sorted(path for path in newest.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            said = []
            assert newest_verified(run / "checkpoints", said.append).name == "step-00000008"
            assert path.name in said[0]
            assert "step-00000012 is set aside as damaged-step-00000012" in said[0]
            (run / "checkpoints" / "damaged-step-00000012").rename(newest)
            path.write_bytes(whole)
    assert newest_verified(run / "checkpoints", said.append) == newest


@pytest.mark.parametrize("harm", ["missing", "cut", "empty", "no manifest"])
def test_a_checkpoint_that_is_not_whole_is_set_aside_and_the_run_goes_on(run, harm):
    newest = checkpoints(run / "checkpoints")[-1]
    victim = newest / ("manifest.json" if harm == "no manifest" else "model.safetensors")
    if harm in ("missing", "no manifest"):
        victim.unlink()
    else:
        victim.write_bytes(b"" if harm == "empty" else victim.read_bytes()[:-1])
    assert continued(run).step == 12
    assert [path.name for path in checkpoints(run / "checkpoints")] == ["step-00000008", "step-00000012"]
    assert (run / "checkpoints" / "damaged-step-00000012").is_dir()


def test_without_a_whole_checkpoint_the_run_says_so(run):
    for path in checkpoints(run / "checkpoints"):
        (path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no whole checkpoint to continue from"):
        continued(run)
    assert len(list((run / "checkpoints").glob("damaged-step-*"))) == 2


def test_half_written_folders_are_ignored_and_removed_with_the_next_save(run):
    leftover = run / "checkpoints" / ".tmp-step-00000013-abc"
    leftover.mkdir()
    assert [path.name for path in checkpoints(run / "checkpoints")] == ["step-00000008", "step-00000012"]
    prune(run / "checkpoints", 2)
    assert not leftover.exists()


def test_pruning_keeps_the_newest_by_step_number(tmp_path):
    for step in (5, 99_999_999, 100_000_000, 20):
        checkpoint_path(tmp_path, step).mkdir()
    (tmp_path / "damaged-step-00000001").mkdir()
    (tmp_path / "step-x").mkdir()
    prune(tmp_path, 2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-99999999", "step-100000000"]
    assert {"damaged-step-00000001", "step-x"} <= {path.name for path in tmp_path.iterdir()}


def test_a_disk_that_fills_up_costs_nothing_that_was_saved(home, monkeypatch):
    write = checkpoint_module.write_state
    saves = []

    def fill_up(folder, *args, **kwargs):
        saves.append(folder)
        if len(saves) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(folder, *args, **kwargs)

    monkeypatch.setattr(checkpoint_module, "write_state", fill_up)
    with pytest.raises(
        DiskFullError, match=r"the disk is full: could not write .*step-00000008.*bytes are free"
    ):
        train(tiny_config(home, name="full"))
    run = home / "runs" / "full"
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000004"]
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    monkeypatch.undo()
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    assert continued(run).status == "done"


def test_verify_names_what_is_sound_and_what_is_not(run):
    assert all(sound for _, sound in verify_path(run))
    newest = checkpoints(run / "checkpoints")[-1]
    (newest / "tokenizer.json").write_text("{}")
    lines = dict(verify_path(run))
    assert list(lines.values()) == [True, False, True]
    assert any("tokenizer.json" in line for line, sound in lines.items() if not sound)
    (newest / "manifest.json").unlink()
    assert [sound for _, sound in verify_path(newest)] == [False]


def test_pruning_spares_the_best(tmp_path):
    for step in (1, 2, 3, 4):
        (tmp_path / f"step-{step:08}").mkdir()
    prune(tmp_path, 1, best=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000004"]


def test_the_checkpoint_of_the_lowest_held_out_loss_is_kept_and_overfitting_is_told(
    tmp_path, monkeypatch, capsys
):
    """A model that sees a few sentences again and again: its held-out loss falls, then rises."""
    monkeypatch.chdir(tmp_path)
    tiny_corpus(tmp_path)
    (tmp_path / "corpus.txt").write_text((tmp_path / "corpus.txt").read_text()[:2500])
    config = tiny_config(
        tmp_path,
        name="over",
        steps=160,
        batch=8,
        model=ModelOptions(context=16, d_model=64, n_layers=2, n_heads=2, d_ff=128),
        evaluate=EvaluateConfig(every=8, windows=64, final_windows=64),
        checkpoint=CheckpointConfig(best=True, keep=1),
    )
    (tmp_path / "over.toml").write_text(to_toml(config))
    assert cli.run(["--config", "over.toml", "--name", "over"]) == 0
    run = tmp_path / "runs/over"
    curve = [(row["valid_loss"], row["step"]) for row in rows(run / "metrics.jsonl") if "valid_loss" in row]
    lowest, step = min(curve)
    assert 8 <= step < 160
    assert lowest < 0.95 * curve[-1][0]
    kept = checkpoints(run / "checkpoints")
    assert [path.name for path in kept] == [f"step-{step:08}", "step-00000160"]
    assert read_record(kept[0])["lowest_loss"] == pytest.approx(lowest)
    out = capsys.readouterr().out
    assert f"overfit    the held-out loss was lowest at step {step}" in out
    assert f"best       {kept[0].relative_to(tmp_path)}" in out or f"best       {kept[0]}" in out


def test_what_a_state_file_holds_is_what_torchs_own_storage_holds(tmp_path):
    tensors = {"adamw/a/m": torch.arange(6.0).view(2, 3), "rng/cpu": torch.arange(9, dtype=torch.uint8)}
    own = write_state(tmp_path, RunState(), KeptState(tensors, {}), seed=0)
    (tmp_path / "theirs").mkdir()
    theirs = HuggingFaceStorageWriter(str(tmp_path / "theirs"), save_distributed=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(tensors, storage_writer=theirs, no_dist=True)
    (name,) = own
    files = [tmp_path / name, *(tmp_path / "theirs").iterdir()]
    assert [file.name for file in files] == [files[0].name] * 2
    data, metadata = [], []
    for file in files:
        content = file.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        metadata.append(
            header.pop("__metadata__")
        )  # its order is safetensors' own choice, anew in each process
        data.append((header, content[end:]))
    assert data[0] == data[1]
    assert metadata[0] == metadata[1]
    assert own[name] == digest_file(files[0])
