"""What a log keeps of every request: `--log console-json` writes a line of JSON, `--log wandb` a row at Weights & Biases.

    with closing(open_log(["wandb"], sys.stderr)) as log:
        log.write(make_record(...))

A record holds the settings, counts, times in seconds, and the text, cut. The same for the command line and the server.
Imports no torch.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO

from lm_generate.errors import SettingError

if TYPE_CHECKING:
    from lm_generate.results import Generation
    from lm_generate.settings import Settings

LogName = Literal["console-json", "wandb"]
Record = dict[str, Any]
CUT = 200
"""Characters of a prompt's end and of a text's beginning that a log keeps."""


class Sink(Protocol):
    """One place that records go to."""

    def write(self, record: Record) -> None: ...

    def close(self) -> None: ...


class ConsoleJson:
    """A line of JSON for each record."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, record: Record) -> None:
        print(json.dumps(record), file=self._stream, flush=True)

    def close(self) -> None:
        """The stream belongs to its owner."""


class Wandb:
    """Rows at Weights & Biases, `sampling/temperature` and so on: offline, said in a line, without a key and a terminal.

    Their environment variables hold: WANDB_MODE, WANDB_PROJECT (default lm-generate), WANDB_DIR.
    """

    def __init__(self) -> None:
        import wandb

        mode = os.environ.get("WANDB_MODE")
        if mode is None and not _has_key() and not sys.stdin.isatty():
            mode = "offline"
            folder = Path(os.environ.get("WANDB_DIR", ".")) / "wandb"
            print(
                f"wandb: no key here, logging offline; later: wandb sync {folder}/offline-run-*",
                file=sys.stderr,
            )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "lm-generate"),
            job_type="generate",
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(silent=True),
        )

    def write(self, record: Record) -> None:
        self._run.log(flat(record))

    def close(self) -> None:
        self._run.finish()


class Log:
    """All sinks that were asked for as one; none is fine."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def write(self, record: Record) -> None:
        for sink in self._sinks:
            sink.write(record)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


def open_log(names: Sequence[LogName], stream: TextIO) -> Log:
    """The log that `--log` asks for; lines of JSON go to `stream`."""
    check_log(names)
    return Log([ConsoleJson(stream) if name == "console-json" else Wandb() for name in dict.fromkeys(names)])


def check_log(names: Sequence[LogName]) -> None:
    """Raises `SettingError` where wandb is asked for and is not installed."""
    if "wandb" in names and importlib.util.find_spec("wandb") is None:
        raise SettingError(
            "--log wandb: wandb is not installed, an extra brings it: pip install 'lm-generate[wandb]'"
        )


def make_record(
    *,
    model: str,
    settings: "Settings",
    prompt: str,
    results: "Sequence[Generation]",
    prompt_tokens: int | None = None,
    id: str | None = None,
) -> Record:
    """What is kept of one request; `results` are the rows that it has written, none if it failed before.
    `prompt_tokens` is told by the first of them where it is not given."""
    adjustment = settings.adjustment
    if prompt_tokens is None:
        prompt_tokens = results[0].prompt_tokens if results else 0
    return {
        **({} if id is None else {"id": id}),
        "model": model,
        "seed": settings.seed,
        "sampling": {
            **vars(settings.sampling),
            "repetition_penalty": adjustment.repetition_penalty,
            "presence_penalty": adjustment.presence_penalty,
            "frequency_penalty": adjustment.frequency_penalty,
            "penalty_window": adjustment.penalty_window,
            "min_tokens": adjustment.min_tokens,
        },
        "max_tokens": settings.max_tokens,
        "constraint": None if settings.constraint is None else settings.constraint.kind,
        "rows": len(results),
        "prompt_tokens": prompt_tokens,
        "tokens": sum(len(result.ids) for result in results),
        "finish_reason": results[0].finish_reason if results else None,
        "first_token_seconds": min((result.timings.first_token for result in results), default=None),
        "seconds": max((result.timings.total for result in results), default=None),
        "prompt": prompt[-CUT:],
        "text": results[0].text[:CUT] if results else "",
    }


def flat(record: Mapping[str, Any], before: str = "") -> Record:
    """Without None and without nesting: {"a": {"b": 1}} is {"a/b": 1}."""
    result: Record = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{before}{name}/")
        elif value is not None:
            result[before + name] = value
    return result


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    return netrc.is_file() and "wandb" in netrc.read_text(encoding="utf-8", errors="replace")
