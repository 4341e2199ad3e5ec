"""The data of a run: what `--data` and `--tokenizer` name -> an open dataset and its tokenizer.

A folder with a dataset in it is opened as it is. Any other text is prepared into `datasets/<name>-<vocabulary>/` by `prepare`, which
recognizes its own work: the same text and settings are not prepared twice. A text that has changed since, or another of the same name,
goes to `<name>-<vocabulary>-2` and so on, because older runs need theirs to be continued.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_tokenizer import Tokenizer

from lm_train.config import TrainConfig
from lm_train.dataset import TokenDataset
from lm_train.errors import ConfigError, OtherDatasetError
from lm_train.prepare import CHARACTERS, END_OF_TEXT, prepare
from lm_train.run_errors import RunError
from lm_train.run_folder import RunFolder
from lm_train.tokens.dataset_format import DATASET_NAME
from lm_train.view.display import Display

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class MixedIn:
    """A dataset beside the run's own: what it was called, and its share of the windows."""

    name: str
    dataset: TokenDataset
    share: float


def open_corpus(config: TrainConfig, display: Display) -> tuple[TokenDataset, Tokenizer]:
    """The dataset and tokenizer of a new run, prepared if need be. Raises DataError and its kind, TokenizerError, ConfigError."""
    dataset = _opened(config.data, named_tokenizer(config.tokenizer), config, display)
    return dataset, dataset.load_tokenizer()


def open_mixture(config: TrainConfig, tokenizer: Tokenizer, display: Display) -> tuple[MixedIn, ...]:
    """The datasets that `mix` names, encoded with the run's tokenizer."""
    return tuple(
        MixedIn(data, _opened(data, tokenizer, config, display), share) for data, share in config.mixed
    )


def _opened(data: str, chosen: Tokenizer | str | None, config: TrainConfig, display: Display) -> TokenDataset:
    """The dataset in the folder `data`, or the one prepared from the text that it names."""
    if (Path(data) / DATASET_NAME).is_file():
        dataset = _verified(Path(data), display)
        if isinstance(chosen, Tokenizer):
            dataset.check_tokenizer(chosen)
        return dataset

    def prepare_into(folder: Path) -> TokenDataset:
        return prepare(
            data,
            folder,
            tokenizer=chosen,
            vocab_size=config.vocab_size,
            end_of_text=document_end(chosen),
            replace=data == STANDARD_INPUT,  # it cannot be read again to try another folder
            progress=display.preparing,
        )

    return into_free_folder(
        Path(config.datasets) / dataset_name([data], chosen or config.vocab_size), prepare_into
    )


def reopen_corpus(run: RunFolder, config: TrainConfig, display: Display) -> TokenDataset:
    """The dataset that a run was trained on, wherever it was prepared; prepared again where its folder is gone."""
    dataset = _reopened(run.facts().get("dataset", {}), config.data, run, display)
    return dataset or open_corpus(config, display)[0]


def reopen_mixture(
    run: RunFolder, config: TrainConfig, dataset: TokenDataset, display: Display
) -> tuple[MixedIn, ...]:
    """The datasets that were mixed into a run's own, as `reopen_corpus` does."""
    cards = run.facts().get("dataset", {}).get("mix", [])
    found = []
    for place, (data, share) in enumerate(config.mixed):
        again = _reopened(cards[place], data, run, display) if place < len(cards) else None
        again = again or _opened(data, dataset.load_tokenizer(), config, display)
        found.append(MixedIn(data, again, share))
    return tuple(found)


def _reopened(card: dict[str, Any], data: str, run: RunFolder, display: Display) -> TokenDataset | None:
    """The dataset of a card in run.json; None where its folder is gone and can be prepared again."""
    recorded = card.get("folder")
    if recorded and (Path(recorded) / DATASET_NAME).is_file():
        return _verified(Path(recorded), display)
    if recorded and Path(recorded) == Path(data):
        raise RunError(f"{run.path}: its dataset {recorded} is gone; put it back to continue")
    return None


def _verified(folder: Path, display: Display) -> TokenDataset:
    """The dataset in a folder, every byte checked, which for a large one takes a while: 0.5 GB a second."""
    dataset = TokenDataset(folder, verify=False)
    dataset.verify(display.preparing)
    return dataset


def stem(data: str) -> str:
    """A folder name for what `--data` names: "books/All of it.txt" -> "all-of-it"."""
    name = Path(data).name.lower() if data != STANDARD_INPUT else "stdin"
    name = re.sub(r"(\.(gz|zst|txt|jsonl|json|md|ndjson))+$", "", name)
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "text"


def dataset_name(data: Sequence[str], tokenizer: Tokenizer | str | int) -> str:
    """The folder name of a dataset that was given none: the texts' names, and the tokenizer's fingerprint, kind or size."""
    text = "-".join(stem(each) for each in data)[:60].strip("-")
    return f"{text}-{tokenizer.fingerprint[:8] if isinstance(tokenizer, Tokenizer) else tokenizer}"


def into_free_folder(first: Path, make: Callable[[Path], TokenDataset]) -> TokenDataset:
    """`make(first)`, or `make` of first-2, first-3, ... where the ones before hold other datasets."""
    number = 1
    while True:
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        try:
            return make(folder)
        except OtherDatasetError:
            number += 1


def named_tokenizer(name: str) -> Tokenizer | str | None:
    """What `--tokenizer` names: None (train one, "bpe"), "characters", or the one in a file."""
    if name == "bpe":
        return None
    if name == CHARACTERS:
        return CHARACTERS
    if not Path(name).exists():
        raise ConfigError(f'--tokenizer {name}: no such file; give a tokenizer.json, "bpe" or "characters"')
    return Tokenizer.load(name)


def document_end(tokenizer: Tokenizer | str | None) -> str | None:
    """What to put after each document: nothing where a given tokenizer has no token for it."""
    lacks_it = isinstance(tokenizer, Tokenizer) and END_OF_TEXT not in tokenizer.special_tokens
    return None if lacks_it else END_OF_TEXT
