"""`load`: from a path to an `Engine`. Everything that could be wrong with a folder is said here, by name.

    a model folder    config.json, *.safetensors, tokenizer.json; ours (sealed by a manifest.json) or Hugging Face's
    a checkpoint      the same, inside a run
    a run folder      its newest checkpoint whose bytes verify; a damaged one is named in the log and passed over

Nothing here can run code from a file: pickles are refused, configurations and tokenizers are JSON.
"""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from lm_core import Transformer, load_model
from lm_core.errors import DamagedFileError
from lm_core.manifest import Manifest, verify_folder
from lm_tokenizer import Tokenizer

from lm_generate.engine import Engine
from lm_generate.errors import ModelSourceError, NoRunError, SettingError, TokenizerMismatchError
from lm_generate.kernel.heap import large_blocks_apart
from lm_generate.kernel.stored import SMALL, storage_of, store, store_matrix
from lm_generate.runs import TRAIN_COMMAND, checkpoints

log = logging.getLogger(__name__)

PICKLES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"}
END_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""What ends a text where no file of the folder says so, the first that the tokenizer has."""


def load(
    folder: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    verify: bool = True,
) -> Engine:
    """The engine for a model folder, a checkpoint, or a run (see above).

    `dtype` is what the matrices are kept as, None: as in the file. On a CPU that may be `torch.int8`, a scale for each
    output, and with all small dtypes the arithmetic is float32 (`lm_generate.kernel.stored`); elsewhere it is the dtype's own.

    `verify=False` leaves out the SHA-256s (sizes are always checked). A folder without a manifest cannot be checked:
    that is logged at level INFO. Raises ModelSourceError when there is no model to load, TokenizerMismatchError when
    the tokenizer is not the model's, DamagedFileError (lm_core) naming a file that changed.
    """
    folder, manifest = find_model(Path(folder), verify=verify)
    device = check_device(device)
    tokenizer = read_tokenizer(folder, manifest)
    if dtype == torch.int8 and device.type != "cpu":
        raise SettingError(f"int8 weights are for the CPU, got device {device}: use bfloat16 there")
    with large_blocks_apart():
        model = _read_model(folder, device, dtype)
        kept = storage_of(model) if dtype is None else dtype
        if kept in SMALL and device.type == "cpu":
            store(model, kept)
    check_vocabulary(tokenizer, model, folder)
    stop_ids, start_id = text_ends(folder, tokenizer, model.config.vocab_size)
    return Engine(model, tokenizer, stop_ids=stop_ids, start_id=start_id, folder=folder)


def _read_model(folder: Path, device: torch.device, dtype: torch.dtype | None) -> Transformer:
    """The model, whose hashes have been checked. int8 is made of each matrix as it is read: the whole is never there in float32."""
    if dtype != torch.int8:
        return load_model(folder, device=device, dtype=dtype, verify=False)

    def shrink(model: Transformer, names: list[str]) -> None:
        for name in names:
            store_matrix(model, name, torch.int8)

    return load_model(folder, dtype=torch.float32, verify=False, after_each=shrink)


def find_model(folder: Path, *, verify: bool) -> tuple[Path, Manifest | None]:
    """The folder that holds the model itself, and its verified manifest; None where it has none."""
    if folder.is_file():
        raise ModelSourceError(_refuse_file(folder))
    if not folder.is_dir():
        raise ModelSourceError(f"there is no folder {folder}: give a model folder, a checkpoint or a run")
    if (folder / "checkpoints").is_dir() and not (folder / "config.json").exists():
        return _newest_checkpoint(folder, verify=verify)
    if not (folder / "config.json").is_file():
        raise ModelSourceError(
            f"{folder} holds no model: neither config.json (a model folder) nor checkpoints/ (a run) is in it; give the folder of a model, a checkpoint or a run"
        )
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles and not any(folder.glob("*.safetensors")):
        raise ModelSourceError(_refuse_file(folder / pickles[0]))
    manifest = verify_folder(folder, hashes=verify)
    if manifest is None:
        log.info("%s has no manifest.json, so it was not made here and its bytes cannot be checked", folder)
    return folder, manifest


def _newest_checkpoint(run: Path, *, verify: bool) -> tuple[Path, Manifest | None]:
    damaged: list[str] = []
    for checkpoint in checkpoints(run):
        try:
            return checkpoint, verify_folder(checkpoint, hashes=verify)
        except DamagedFileError as error:
            damaged.append(str(error))
            log.warning("%s is passed over: %s", checkpoint, error)
    if damaged:
        raise DamagedFileError(f"no checkpoint of the run {run} is whole:\n" + "\n".join(damaged))
    raise NoRunError(
        f"the run {run} has no finished checkpoint yet; let `{TRAIN_COMMAND}` write one, or name another"
    )


def _refuse_file(path: Path) -> str:
    if path.suffix in PICKLES:
        return (
            f"{path} is a pickle, which can run any code when it is opened, so it is refused: have its owner save it as "
            "model.safetensors (transformers: save_pretrained; plain torch: safetensors.torch.save_file)"
        )
    return f"{path} is a file: give the folder that holds config.json, model.safetensors and tokenizer.json"


def read_tokenizer(folder: Path, manifest: Manifest | None) -> Tokenizer:
    """The folder's tokenizer, held to the fingerprint that the manifest has of it."""
    if not (folder / "tokenizer.json").is_file():
        raise ModelSourceError(
            f"{folder} has no tokenizer.json, so text cannot be turned into ids: copy the model's there"
        )
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    expected = manifest.facts.get("tokenizer_fingerprint") if manifest else None
    if expected is not None and expected != tokenizer.fingerprint:
        raise TokenizerMismatchError(
            f"{folder / 'tokenizer.json'} is not the tokenizer that this model was trained with: its fingerprint is "
            f"{tokenizer.fingerprint} and the manifest's is {expected}; copy the right tokenizer.json from the run"
        )
    return tokenizer


def check_vocabulary(tokenizer: Tokenizer, model: Transformer, folder: Path) -> None:
    """Raises TokenizerMismatchError when the tokenizer has ids that the model does not."""
    largest = max(tokenizer.vocab, default=-1)
    if largest >= model.config.vocab_size:
        raise TokenizerMismatchError(
            f"the tokenizer in {folder} has ids up to {largest}, but the model's vocabulary is "
            f"{model.config.vocab_size}: they do not belong together; put the model's own tokenizer.json there"
        )


def text_ends(folder: Path, tokenizer: Tokenizer, vocab_size: int) -> tuple[list[int], int | None]:
    """The ids that end a text, and the one that begins one: of generation_config.json, else config.json, else the
    tokenizer's end-of-text token, which stands between documents and so both ends and begins one."""
    ends: list[int] = []
    start: int | None = None
    for name in ("generation_config.json", "config.json"):
        settings = _read_object(folder / name)
        ends = ends or _ids(settings.get("eos_token_id"), vocab_size, folder / name)
        starts = _ids(settings.get("bos_token_id"), vocab_size, folder / name)
        start = start if start is not None or not starts else starts[0]
    special = [tokenizer.special_tokens[token] for token in END_TOKENS if token in tokenizer.special_tokens]
    ends = ends or special[:1]
    return ends, ends[0] if start is None and ends else start


def _ids(value: Any, vocab_size: int, path: Path) -> list[int]:
    ids = value if isinstance(value, list) else [] if value is None else [value]
    for id in ids:
        if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id < vocab_size:
            raise ModelSourceError(
                f"{path}: the end or begin id {id!r} is outside the vocabulary (0..{vocab_size - 1})"
            )
    return ids


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelSourceError(f"{path} is not valid JSON ({error}): restore it from a good copy") from error
    if not isinstance(value, dict):
        raise ModelSourceError(f"{path} must hold a JSON object, got a {type(value).__name__}")
    return value


def check_device(device: torch.device | str) -> torch.device:
    """A device that this machine has. Raises SettingError naming what it has."""
    try:
        wanted = torch.device(device)
        torch.empty(0, device=wanted)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f"device {str(device)!r} cannot be used here ({reason}); cpu always can"
        ) from error
    return wanted
