"""Faults from outside a run: other data in its dataset's place, a clock that jumps, a folder that vanishes, deletions that fail."""

import errno
import random
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import lm_train
import pytest
from lm_core.atomic_folder import DiskFullError
from lm_train import cli
from lm_train.checkpoint import checkpoint_path, checkpoints, prune
from lm_train.config import CheckpointConfig
from lm_train.config_file import read_config, to_toml
from lm_train.errors import DatasetError
from lm_train.prepare import prepare
from lm_train.run import resume, train
from lm_train.run_folder import RunFolder
from resumed_runs import StopAt
from run_comparison import figures, same_bits, weights
from tiny_runs import tiny_config, tiny_corpus, tiny_text


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    tiny_corpus(folder)
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


def test_other_data_in_the_place_of_a_runs_dataset_is_refused_with_both_fingerprints(home, tmp_path):
    watch = StopAt(3)
    run = train(tiny_config(home, name="moved"), display=watch, stop=watch.stop).folder
    config = read_config([str(run / "config.toml")])
    dataset = next((home / "datasets").glob("corpus-*"))
    (tmp_path / "other.txt").write_text(tiny_text(seed=9))
    other = prepare(tmp_path / "other.txt", tmp_path / "other", tokenizer=dataset / "tokenizer.json")
    kept = dataset.rename(tmp_path / "kept")
    shutil.copytree(other.folder, dataset)
    with pytest.raises(DatasetError, match=r"is not the data that .*moved was trained on: fingerprint"):
        resume(run, config)
    shutil.rmtree(dataset)
    kept.rename(dataset)
    assert resume(run, config).step == 12


def test_a_clock_that_jumps_changes_nothing(home, monkeypatch):
    settings = {"checkpoint": CheckpointConfig(minutes=60)}
    sound = train(tiny_config(home, name="clock-sound", **settings)).folder
    rng, real = random.Random(3), time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + rng.uniform(-1e9, 1e9))
        run = train(tiny_config(home, name="clock-jumps", **settings)).folder
    assert figures(run, "loss", "valid_loss", "lr") == figures(sound, "loss", "valid_loss", "lr")
    same_bits(weights(run), weights(sound))
    assert [path.name for path in checkpoints(run / "checkpoints")] == ["step-00000012"]


def test_nothing_in_the_package_is_decided_by_the_wall_clock():
    sources = Path(lm_train.__file__).parent.rglob("*.py")
    asking = [path.name for path in sources if re.search(r"\btime\.time\(", path.read_text(encoding="utf-8"))]
    assert asking == []


def test_a_run_whose_folder_vanishes_ends_with_a_message(home, monkeypatch, capsys):
    (home / "vanish.toml").write_text(to_toml(replace(tiny_config(home), name=None)))
    sound = lm_train.loop.run_step

    def vanishing(s, step, factor):
        if step == 2:
            shutil.rmtree(s.run.path)
        return sound(s, step, factor)

    monkeypatch.setattr("lm_train.loop.run_step", vanishing)
    assert cli.run(["--config", str(home / "vanish.toml"), "--name", "vanished"]) == 1
    err = capsys.readouterr().err
    assert "vanished" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("every", "kept"),
    [
        (
            4,
            r"stopped at step 5, and .*step-00000004 is whole\. Free some space, and go on .* --resume .*full-4",
        ),
        (None, r"stopped at step 5 and has no checkpoint yet\. Free some space, and start it again"),
    ],
)
def test_a_disk_that_fills_up_is_told_with_what_is_kept_even_if_it_takes_no_last_words(
    home, monkeypatch, every, kept
):
    config = tiny_config(home, name=f"full-{every}", checkpoint=CheckpointConfig(every=every, minutes=60))
    sound = lm_train.loop.run_step

    def refused(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:

        def filling_up(s, step, factor):
            if step == 5:
                patch.setattr(RunFolder, "update", refused)
                refused()
            return sound(s, step, factor)

        patch.setattr("lm_train.loop.run_step", filling_up)
        with pytest.raises(DiskFullError, match=f"^the disk is full: .*No space left on device; .*{kept}"):
            train(config)
    if every:
        assert resume(home / "runs" / config.name, config).step == 12


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_pruning_never_leaves_fewer_than_it_should_whatever_fails_before(tmp_path, monkeypatch, keep):
    rng, step, saved = random.Random(keep), 0, []
    sound = shutil.rmtree

    def unsteady(path, **options):
        if rng.random() < 0.5:
            sound(path, **options)

    monkeypatch.setattr(shutil, "rmtree", unsteady)
    for _ in range(120):
        step += rng.randint(1, 9)
        act = rng.choice(["save", "save", "torn", "set aside"])
        if act == "save":
            checkpoint_path(tmp_path, step).mkdir()
            saved.append(step)
        elif act == "torn":
            (tmp_path / f".tmp-step-{step:08}-{rng.randrange(1 << 32):08x}").mkdir()
        elif checkpoints(tmp_path):
            newest = checkpoints(tmp_path)[-1]
            newest.rename(newest.with_name(f"damaged-{newest.name}"))
            saved.remove(int(newest.name.removeprefix("step-")))
        prune(tmp_path, keep)
        saved = saved[-keep:]
        assert [path.name for path in checkpoints(tmp_path)] == [f"step-{each:08}" for each in saved]
