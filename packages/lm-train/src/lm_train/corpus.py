"""The data of a run: what `--data` and `--tokenizer` name -> an open dataset and its tokenizer.

A folder with a dataset in it is opened as it is. Any other text is prepared into `datasets/<name>-<vocabulary>/` by `prepare`, which
recognizes its own work: the same text and settings are not prepared twice.
"""

from __future__ import annotations

import re
from pathlib import Path

from lm_tokenizer import Tokenizer

from lm_train.config import TrainConfig
from lm_train.dataset import TokenDataset
from lm_train.dataset_format import DATASET_NAME
from lm_train.display import Display
from lm_train.errors import ConfigError
from lm_train.prepare import CHARACTERS, END_OF_TEXT, prepare
from lm_train.run_errors import RunError
from lm_train.run_folder import RunFolder

TRAINED = ("bpe", CHARACTERS)


def open_corpus(config: TrainConfig, display: Display) -> tuple[TokenDataset, Tokenizer]:
    """The dataset and tokenizer of a new run, prepared if need be. Raises DataError and its kind, TokenizerError, ConfigError."""
    folder = Path(config.data)
    given = None if config.tokenizer in TRAINED else _tokenizer_file(config.tokenizer)
    if (folder / DATASET_NAME).is_file():
        dataset = TokenDataset(folder)
        tokenizer = dataset.load_tokenizer()
        if given is not None:
            dataset.check_tokenizer(Tokenizer.load(given))
        return dataset, tokenizer
    chosen = Tokenizer.load(given) if given is not None else None
    separates = chosen is None or END_OF_TEXT in chosen.special_tokens
    dataset = prepare(
        config.data,
        Path(config.datasets) / _name(config, chosen),
        tokenizer=chosen or (CHARACTERS if config.tokenizer == CHARACTERS else None),
        vocab_size=config.vocab_size,
        end_of_text=END_OF_TEXT if separates else None,
        progress=display.preparing,
    )
    return dataset, dataset.load_tokenizer()


def reopen_corpus(run: RunFolder, config: TrainConfig, display: Display) -> TokenDataset:
    """The dataset that a run was trained on, wherever it was prepared; prepared again where its folder is gone."""
    recorded = run.facts().get("dataset", {}).get("folder")
    if recorded and (Path(recorded) / DATASET_NAME).is_file():
        return TokenDataset(recorded)
    if recorded and Path(recorded) == Path(config.data):
        raise RunError(f"{run.path}: its dataset {recorded} is gone; put it back to continue")
    return open_corpus(config, display)[0]


def stem(data: str) -> str:
    """A folder name for what `--data` names: "books/All of it.txt" -> "all-of-it"."""
    name = Path(data).name.lower() if data != "-" else "stdin"
    name = re.sub(r"(\.(gz|zst|txt|jsonl|json|md|ndjson))+$", "", name)
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "text"


def _name(config: TrainConfig, tokenizer: Tokenizer | None) -> str:
    if tokenizer is not None:
        return f"{stem(config.data)}-{tokenizer.fingerprint[:8]}"
    return f"{stem(config.data)}-{CHARACTERS if config.tokenizer == CHARACTERS else config.vocab_size}"


def _tokenizer_file(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise ConfigError(f'--tokenizer {name}: no such file; give a tokenizer.json, "bpe" or "characters"')
    return path
