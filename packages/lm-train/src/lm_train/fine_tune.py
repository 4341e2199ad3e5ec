"""Fine-tuning: a new run that starts from the weights of a model folder, ours or one of Hugging Face's, instead of a seed.

The weights are taken, the step and the optimizer's state are not. The shape comes from the folder, and so does the tokenizer unless
one is named; the windows may be shorter than the model's context, and are as long as it where the default is longer.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import torch
from lm_core import ModelConfig, Transformer, load_model, read_config

from lm_train.checkpoint import checkpoints
from lm_train.config import ModelOptions, TrainConfig
from lm_train.errors import ConfigError

_OWN = ("context", "init")  # the windows of this run; how weights would start


def with_shape_of_start(config: TrainConfig) -> TrainConfig:
    """`config` as it is, or with the shape and the tokenizer of `init_from`. Raises ConfigError and lm_core's ModelFolderError."""
    if config.init_from is None:
        return config
    folder = start_folder(config.init_from)
    shape = read_config(folder)
    names = [field.name for field in fields(ModelOptions) if field.name not in _OWN]
    default, given = ModelOptions(), config.model
    for name in names:
        wanted, there = getattr(given, name), getattr(shape, name)
        if wanted not in (getattr(default, name), there):
            raise ConfigError(
                f"--model.{name.replace('_', '-')} {wanted}: the model in {folder} has {there}; leave it out"
            )
    context = given.context
    if context > shape.context:
        if context != default.context:
            raise ConfigError(
                f"--model.context {context:,}: the model in {folder} sees at most {shape.context:,} tokens"
            )
        context = shape.context
    model = replace(given, context=context, **{name: getattr(shape, name) for name in names})
    return replace(config, model=model, tokenizer=_tokenizer(config, folder))


def check_vocabulary(config: TrainConfig, vocab_size: int) -> None:
    """Raises ConfigError where the model of `init_from` does not know as many tokens as the dataset's tokenizer has."""
    if config.init_from is None:
        return
    folder = start_folder(config.init_from)
    known = read_config(folder).vocab_size
    if known < vocab_size:
        raise ConfigError(
            f"the model in {folder} knows {known:,} tokens, the dataset's tokenizer has {vocab_size:,}; "
            "prepare the text with the model's own tokenizer"
        )


def start_model(config: TrainConfig, shape: ModelConfig) -> Transformer:
    """The model at step 0: of `shape` and from the seed, or the one of `init_from`."""
    if config.init_from is None:
        return Transformer(shape, seed=config.seed)
    return load_model(start_folder(config.init_from), dtype=torch.float32)


def start_folder(name: str) -> Path:
    """The model folder that `init_from` means: itself, or the newest checkpoint of a run."""
    path = Path(name)
    if (path / "config.json").is_file():
        return path
    if found := checkpoints(path / "checkpoints"):
        return found[-1]
    raise ConfigError(
        f"--init-from {name}: neither a model folder (with a config.json) nor a run with a checkpoint"
    )


def _tokenizer(config: TrainConfig, folder: Path) -> str:
    if config.tokenizer != "bpe":
        return config.tokenizer
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise ConfigError(
            f"{folder} has no tokenizer.json; name the tokenizer that its model was trained with: --tokenizer FILE"
        )
    return str(file)
