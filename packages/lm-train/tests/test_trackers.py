"""Other programs that follow a run: what reaches Weights & Biases, TensorBoard and Trackio, and that they never stop a run."""

import sys
import types
from pathlib import Path

import pytest
from lm_train.config_file import read_config
from lm_train.errors import ConfigError
from lm_train.layers import normalized
from lm_train.run import resume, train
from lm_train.view import trackers
from lm_train.view.trackers import Trackio, Wandb, numbers, require
from resumed_runs import StopAt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import rows, tiny_config, tiny_corpus

ROW = {"step": 3, "loss": 1.5, "grad_norm": None}
SAMPLE = {"step": 4, "tokens": 64, "prompt": "Once", "text": " upon\na time"}


class FakeRun:
    def __init__(self):
        self.rows, self.finished, self.artifacts, self.id = [], False, [], "a1b2"

    def log(self, values, step):
        self.rows.append((step, values))

    def log_artifact(self, artifact):
        self.artifacts.append((artifact.name, artifact.type, sorted(artifact.files)))

    def finish(self):
        print("a word that is not the run's")
        self.finished = True


class FakeArtifact:
    def __init__(self, name, type):
        self.name, self.type, self.files = name, type, []

    def add_dir(self, path):
        self.files += [child.name for child in Path(path).iterdir()]

    def add_file(self, path):
        self.files.append(Path(path).name)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """wandb with its `init` replaced: what it was called with, and the run it gave."""
    seen = {}

    def init(**settings):
        seen.update(settings, run=FakeRun())
        return seen["run"]

    module = types.SimpleNamespace(
        init=init, Settings=lambda **settings: settings, Artifact=FakeArtifact, __spec__=object()
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return seen


def test_without_a_key_and_a_terminal_it_logs_offline_and_says_so(fake, tmp_path):
    logger = Wandb(tmp_path, "run", {"seed": 1})
    assert (fake["mode"], fake["name"], fake["config"]) == ("offline", "run", {"seed": 1})
    assert logger.note.startswith("wandb: no key here, logging offline; later: wandb sync ")


def test_with_a_key_or_a_mode_of_ones_own_it_is_left_alone(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert Wandb(tmp_path, "run", {}).note is None
    assert fake["mode"] is None
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Wandb(tmp_path, "run", {})
    assert fake["mode"] == "disabled"


def test_rows_keep_their_step_and_lose_what_is_none(fake, tmp_path):
    logger = Wandb(tmp_path, "run", {})
    logger.log(ROW)
    logger.log(SAMPLE)
    logger.close()
    assert fake["run"].rows == [(3, {"loss": 1.5}), (4, {"tokens": 64, "sample": "Once upon\na time"})]
    assert fake["run"].finished


def test_the_score_of_a_text_that_was_mixed_in_is_drawn_under_its_name():
    assert numbers({"step": 9, "mix": "stories", "mix_valid_loss": 2.0}) == {"mix_valid_loss/stories": 2.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trackers")
    tiny_corpus(folder)
    return folder


def test_a_run_gives_wandb_its_files_and_tensorboard_its_rows(home, fake, monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    result = train(tiny_config(home, log=("wandb", "tensorboard"), steps=6))
    checkpoint, tokenizer, samples = fake["run"].artifacts
    assert checkpoint == ("tiny-checkpoint", "model", sorted(p.name for p in result.checkpoint.iterdir()))
    assert tokenizer == ("tiny-tokenizer", "tokenizer", ["tokenizer.json"])
    assert samples == ("tiny-samples", "samples", ["samples.jsonl"])
    events = EventAccumulator(str(result.folder / "tensorboard")).Reload()
    written = rows(result.folder / "metrics.jsonl")
    for key in ("loss", "lr", "valid_loss"):
        drawn = [(event.step, event.value) for event in events.Scalars(key)]
        assert drawn == [(row["step"], pytest.approx(row[key])) for row in written if key in row]
    assert "sample/text_summary" in events.Tags()["tensors"]


def test_trackio_gets_the_rows_and_prints_nothing_of_its_own(monkeypatch, capsys):
    run, seen = FakeRun(), {}

    def init(**settings):
        print("a banner")
        seen.update(settings)
        return run

    monkeypatch.setitem(sys.modules, "trackio", types.SimpleNamespace(init=init))
    logger = Trackio("stdlib-1", {"seed": 1}, "stdlib-1-c0ffee")
    logger.log(ROW)
    logger.log(SAMPLE)
    logger.close()
    assert run.rows == [(3, {"loss": 1.5}), (4, {"tokens": 64, "sample": "Once upon\na time"})]
    assert (seen["project"], seen["name"], seen["config"], seen["resume"]) == (
        "lm-train",
        "stdlib-1-c0ffee",
        {"seed": 1},
        "allow",
    )
    assert run.finished
    assert capsys.readouterr().out == ""


def test_two_runs_of_one_name_are_two_of_trackios(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", types.SimpleNamespace(init=lambda **_: FakeRun()))
    first, second = (Trackio("stdlib-1", {}) for _ in range(2))
    assert first.name.startswith("stdlib-1-")
    assert first.name != second.name


def test_a_resumed_run_goes_on_in_the_trackers_where_it_was(home, fake, monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    names = []

    def init(**settings):
        names.append(settings["name"])
        return FakeRun()

    monkeypatch.setitem(sys.modules, "trackio", types.SimpleNamespace(init=init, __spec__=object()))
    config = tiny_config(home, name="resumed", log=("wandb", "trackio"), steps=6)
    watch = StopAt(3)
    folder = train(config, display=watch, stop=watch.stop).folder
    assert (fake["id"], fake["resume"]) == (None, None)
    resume(folder, read_config([str(folder / "config.toml")]))
    assert (fake["id"], fake["resume"]) == ("a1b2", "allow")
    assert names[0] == names[1]


def test_wandb_itself_offline_goes_on_with_the_id_that_it_is_given(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the extra lm-train[wandb] is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    first = Wandb(tmp_path, "run", {})
    first.log(ROW)
    first.close()
    second = Wandb(tmp_path, "run", {}, first.id)
    second.log({"step": 5, "loss": 1.25})
    second.close()
    assert second.id == first.id
    assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{first.id}"))) in (1, 2)  # one a second


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "trackio"])
def test_where_it_is_not_installed_the_command_says_what_to_install(monkeypatch, name):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"pip install 'lm-train\[{name}\]'"):
        require((name,))
    require(("console-json",))


@pytest.mark.parametrize(
    ("spelt", "log"),
    [("--use_wandb", ["wandb"]), ("--use_wandb=True", ["wandb"]), ("--use-wandb=false", [])],
)
def test_use_wandb_is_a_spelling_of_log_wandb(spelt, log):
    assert normalized(["--steps", "3", spelt]) == ["--steps", "3", *(["--log", "wandb"] if log else [])]
