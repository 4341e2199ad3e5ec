"""R4: a changed byte anywhere in what a run is continued from, or trained on, is named before it is used."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from lm_core.errors import LmCoreError
from lm_train.checkpoint import checkpoints, damage
from lm_train.config import CheckpointConfig
from lm_train.config_file import read_config
from lm_train.dataset import TokenDataset
from lm_train.errors import LmTrainError
from lm_train.run import resume, train
from lm_train.run_errors import RunError
from lm_train.run_folder import RunFolder
from lm_train.verify import verify_path
from tiny_runs import tiny_config, tiny_corpus

# Notes for people and pages: nothing is computed from them (a damaged run.json is as good as none).
NOTES = {"run.json", "metrics.jsonl", "samples.jsonl", "events.jsonl", "log.txt", "report.html"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two checkpoints."""
    folder = tmp_path_factory.mktemp("flips")
    tiny_corpus(folder)
    return train(tiny_config(folder, steps=6, checkpoint=CheckpointConfig(every=3))).folder


def use(run: Path) -> list[str]:
    """Open all that a resumed run opens; what it is told on the way."""
    folder = RunFolder.open(run)
    read_config([str(folder.config)])
    folder.check_config()
    TokenDataset(folder.facts()["dataset"]["folder"])
    return [problem for path in checkpoints(folder.checkpoints) if (problem := damage(path))]


def test_every_file_of_a_run_with_a_flipped_byte_at_a_random_place_is_named_before_use(run):
    rng = random.Random(7)
    dataset = Path(RunFolder.open(run).facts()["dataset"]["folder"])
    files = [path for folder in (run, dataset) for path in sorted(folder.rglob("*")) if path.is_file()]
    decide = [path for path in files if path.name not in NOTES]
    assert {path.name for path in files} >= NOTES | {
        "config.toml",
        "dataset.json",
        "train-00000.bin",
        "manifest.json",
        "state.json",
    }
    assert use(run) == []
    for path in decide:
        sound = path.read_bytes()
        for _ in range(3):
            place = rng.randrange(len(sound))
            bad = bytearray(sound)
            bad[place] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            try:
                named = "\n".join(use(run))
            except (LmTrainError, LmCoreError) as error:
                named = str(error)
            assert path.name in named, (path, place)
            verdicts = [line for line, fine in verify_path(run) if not fine]
            assert any(path.name in line for line in verdicts), (path, place)
            path.write_bytes(sound)
    assert use(run) == []


def test_a_flipped_digit_in_the_settings_of_a_run_is_refused_and_flags_still_change_them(run):
    config = run / "config.toml"
    sound = config.read_text()
    settings = read_config([str(config)])
    config.write_text(sound.replace("seed = 0", "seed = 1"))
    with pytest.raises(RunError, match=r"config\.toml is not as lm-train wrote it"):
        resume(run, read_config([str(config)]))
    config.write_text(sound)
    assert resume(run, replace(settings, steps=7)).step == 7


def test_settings_without_a_seal_are_those_of_an_older_version(run):
    folder = RunFolder.open(run)
    text = folder.config.read_text()
    folder.config.write_text(text[: text.index("# sha256 ")])
    with pytest.raises(RunError, match="is not as lm-train wrote it"):
        folder.check_config()
    folder.update(config_sealed=False)
    folder.check_config()
