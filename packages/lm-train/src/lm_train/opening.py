"""A run put together: `begin` starts one in a new folder, `reopen` continues one from its newest whole checkpoint; the loop treats both alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lm_core import ModelConfig, load_model
from lm_core import read_config as read_model_config
from lm_core.counts import parameter_count
from lm_tokenizer import Tokenizer

from lm_train.budget import Budget
from lm_train.checkpoint import newest_verified, versions
from lm_train.compiled import check_compiler
from lm_train.config import ModelOptions, TrainConfig
from lm_train.config_file import read_config, to_settings, to_toml
from lm_train.corpus import MixedIn
from lm_train.dataset import TokenDataset
from lm_train.device import Device, choose_device, machine_card
from lm_train.errors import DatasetError
from lm_train.fine_tune import start_model
from lm_train.mixture import data_fingerprint
from lm_train.nvtx import nvtx_level
from lm_train.optimizers import Optimizers
from lm_train.parallel.launcher import processes_here
from lm_train.parallel.ranks import Ranks
from lm_train.parallel.sharding import REPLICATE, choose_sharding
from lm_train.resuming import check_changes
from lm_train.run_errors import CheckpointError, RunError
from lm_train.run_folder import RunFolder, check_free
from lm_train.session import Session
from lm_train.state import RunState, read_record, read_state
from lm_train.view.metrics import ConsoleJson, JsonLines, Loggers, drop_after
from lm_train.view.trackers import open_trackers, require


def model_config(options: ModelOptions, vocab_size: int) -> ModelConfig:
    """lm_core's config of these options. Raises lm_core's ConfigError where they do not fit each other."""
    return ModelConfig(vocab_size=vocab_size, **{k: v for k, v in asdict(options).items() if v is not None})


def resolved(config: TrainConfig, device: Device) -> TrainConfig:
    """The config with what was left open filled in, as `config.toml` keeps it: without a name, so that it can be run again."""
    minutes = config.budget_minutes
    dtype = str(device.dtype).removeprefix("torch.")
    choice = {
        "name": None,
        "minutes": minutes,
        "device": device.kind,
        "dtype": dtype,
        "threads": device.threads if processes_here() == 1 else config.threads,
    }
    return replace(config, **choice)  # type: ignore[arg-type]  # a Device's names are the setting's


def check(config: TrainConfig) -> None:
    """What can be known to be wrong before the data is prepared, which may take long. Raises ConfigError, lm_core's too, and RunError."""
    device = choose_device(config.device, config.dtype, config.threads)
    nvtx_level()
    if config.compile:
        check_compiler("--compile", device.kind)
    if config.optim.compile:
        check_compiler("--optim.compile", device.kind)
    model_config(config.model, config.vocab_size)
    check_free(Path(config.out), config.name)
    require(config.log)


def begin(
    config: TrainConfig,
    run: RunFolder,
    dataset: TokenDataset,
    mixed: tuple[MixedIn, ...],
    tokenizer: Tokenizer,
    ranks: Ranks,
) -> Session:
    """A new run at step 0: weights from the seed, the folder's first files written."""
    device = choose_device(config.device, config.dtype, config.threads)
    config = resolved(config, device)
    torch.manual_seed(config.seed)  # a checkpoint holds its state, which is then the same each time
    model = start_model(config, model_config(config.model, dataset.vocab_size))
    sharding = choose_sharding(config, model.config, device, ranks)
    model = model.to(device.kind if sharding == REPLICATE else "cpu").train()
    model.recompute = config.recompute
    optimizers = Optimizers(model, config.optim, scaled=device.scaled, ranks=ranks.group)
    parts = (dataset, tokenizer, device, model, optimizers, mixed, ranks, sharding)
    session = Session(config, run, *parts)
    run.write_config(to_toml(config))
    run.update(
        status="running",
        config_sealed=True,
        versions=versions(),
        machine=machine_card(device),
        dataset=data_card(dataset, mixed),
        model=asdict(model.config),
        parameters=parameter_count(model.config),
    )
    run.events.tell("started", world=ranks.world, sharding=sharding, device=device.kind, seed=config.seed)
    _open_loggers(session)
    return session


def reopen(
    run: RunFolder,
    config: TrainConfig,
    dataset: TokenDataset,
    mixed: tuple[MixedIn, ...],
    ranks: Ranks,
    say: Callable[[str], None],
) -> Session:
    """The run continued from its newest whole checkpoint. `config` may differ from the run's where `check_changes` allows it."""
    old = read_config([str(run.config)])
    config = replace(config, dtype=old.dtype) if config.dtype == "auto" else config
    check_changes(old, config, run.path)
    ranks.check_divides(config.batch)

    def set_aside(text: str) -> None:
        run.events.tell("set-aside", damage=text)
        say(text)

    checkpoint = newest_verified(run.checkpoints, set_aside)
    facts = _facts(checkpoint)
    fingerprint = data_fingerprint(dataset, mixed)
    if facts.get("dataset_fingerprint") != fingerprint:
        folders = ", ".join(str(each.folder) for each in (dataset, *(part.dataset for part in mixed)))
        raise DatasetError(
            f"{folders} is not the data that {run.path} was trained on: fingerprint {fingerprint}, "
            f"the checkpoint's is {facts.get('dataset_fingerprint')}; put the old data back, or start a new run"
        )
    tokenizer = Tokenizer.load(checkpoint)
    dataset.check_tokenizer(tokenizer)
    device = choose_device(config.device, config.dtype, config.threads)
    config = resolved(config, device)
    sharding = choose_sharding(config, read_model_config(checkpoint), device, ranks)
    home = device.kind if sharding == REPLICATE else "cpu"
    model = load_model(checkpoint, device=home, verify=False)  # newest_verified has read every byte
    model.train()
    model.recompute = config.recompute
    optimizers = Optimizers(model, config.optim, scaled=device.scaled, ranks=ranks.group)
    parts = (dataset, tokenizer, device, model, optimizers, mixed, ranks, sharding)
    session = Session(config, run, *parts)
    session.state = read_state(checkpoint, session.optimizers)
    if Budget.of(old) != session.budget:
        session.state.total_steps = None
    elif run.facts().get("status") == "done" and session.state.step == session.state.total_steps:
        raise RunError(
            f"{run.path} is done; give it a larger budget to train it further, for example --steps {2 * session.state.step}"
        )
    dropped = _drop_rows(run, session.state)
    run.write_config(to_toml(config))
    run.update(status="running", config_sealed=True, versions=versions(), machine=machine_card(device))
    run.events.tell(
        "resumed",
        step=session.state.step,
        checkpoint=checkpoint.name,
        saved_on=read_record(checkpoint)["world_size"],
        world=ranks.world,
        sharding=sharding,
        device=device.kind,
    )
    session.notes.append(f"continuing {run.path} from step {session.state.step}")
    if dropped:
        run.log(f"{dropped} rows after step {session.state.step} dropped: they are computed again")
    _open_loggers(session)
    return session


def data_card(dataset: TokenDataset, mixed: tuple[MixedIn, ...] = ()) -> dict[str, Any]:
    """What run.json says of the data."""
    others = (
        {"mix": [{"text": m.name, "share": m.share, **data_card(m.dataset)} for m in mixed]} if mixed else {}
    )
    splits = {
        split: {
            "tokens": dataset.tokens(split),
            "documents": dataset.documents(split),
            "bytes": dataset.text_bytes(split),
        }
        for split in dataset.splits
    }
    return {
        "folder": str(dataset.folder),
        "fingerprint": dataset.fingerprint,
        "tokenizer_fingerprint": dataset.tokenizer_fingerprint,
        "vocab_size": dataset.vocab_size,
        "splits": splits,
        "sources": [str(source.get("name", source)) for source in dataset.info.sources]
        if dataset.info
        else [],
        **others,
    }


def _drop_rows(run: RunFolder, state: RunState) -> int:
    """Remove the rows that the resumed run computes again; gives their number."""
    counts = [state.metrics_rows, state.samples_rows]
    ended = run.facts().get("ended_with", {})
    if ended.get("step") == state.step:  # trained further: the scores and samples at the old end stay
        counts = ended["rows"]
    files = (run.metrics, run.samples)
    return sum(drop_after(file, state.step, count) for file, count in zip(files, counts, strict=True))


def _facts(checkpoint: Path) -> dict[str, Any]:
    from lm_core.manifest import read_manifest

    manifest = read_manifest(checkpoint)
    if manifest is None:
        raise CheckpointError(f"{checkpoint}: no manifest.json; continue from another checkpoint")
    return manifest.facts


def _open_loggers(session: Session) -> None:
    c, run = session.config, session.run
    trackers, notes = open_trackers(c.log, run, to_settings(c), session.state.step)
    session.notes += notes
    console = [ConsoleJson(sys.stdout)] if "console-json" in c.log else []
    session.lines, session.trackers = (JsonLines(run.metrics), JsonLines(run.samples)), trackers
    session.metrics = Loggers([session.lines[0], *console, trackers])
