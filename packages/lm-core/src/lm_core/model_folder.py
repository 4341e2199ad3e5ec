"""The model folder: Hugging Face's layout, written and read natively. The specification is docs/model-folder.md.

    save_model(model, "my-model")        # config.json, model.safetensors, generation_config.json, manifest.json
    model = load_model("my-model")       # ours, or a Llama, Mistral, Qwen2, Qwen3 or GPT-2 folder from elsewhere

Loading looks before it allocates: first the manifest's sizes and hashes, then the config, then the headers of the
weight files against the shapes that the config asks for; only then is memory taken and filled.
"""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lm_core.config import ModelConfig
from lm_core.errors import ConfigError, ModelFolderError
from lm_core.hf_config import config_from_json, config_to_json
from lm_core.hf_layout import GPT2_PREFIX, IGNORED, FileTensor, file_tensors, head_and_embedding, stored_shape
from lm_core.init import allocate
from lm_core.manifest import FileEntry, check_file, new_folder, read_manifest, seal_folder, verify_folder
from lm_core.memory import require_memory
from lm_core.parameter_shapes import parameter_shapes
from lm_core.tensor_files import DTYPES, SINGLE, StoredTensor, read_json, stored_tensors, write_tensors
from lm_core.transformer import Transformer

KINDS = ("model", "checkpoint")
LISTED = 200  # complaints in one error

log = logging.getLogger(__name__)


def save_model(
    model: Transformer,
    folder: Path | str,
    *,
    dtype: torch.dtype | None = None,
    kind: str = "model",
    facts: dict[str, Any] | None = None,
    add_files: Callable[[Path], Mapping[str, FileEntry] | None] | None = None,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    max_shard_bytes: int | None = None,
) -> None:
    """Writes a new model folder, which appears whole or not at all.

    `dtype` casts the weights on the way (None keeps theirs). `add_files` is called with the unfinished folder, to put
    a tokenizer or training state beside the model, and may give the entries of files that it hashed and fsynced itself, by
    their names in the folder; the manifest, with `kind` and `facts`, seals it all. The two token
    ids are what other software's `generate` starts and stops at. Weights of more than `max_shard_bytes` are written as
    several files and an index (None: always one file).
    Raises ModelFolderError for a dtype or id that cannot be written, and the manifest module's errors for an existing
    folder or a full disk.
    """
    if not isinstance(model, Transformer):
        raise ModelFolderError(
            f"a Transformer can be saved, got {type(model).__name__}; unwrap it first (._orig_mod after torch.compile, .module in DDP)"
        )
    dtype = model.embedding.weight.dtype if dtype is None else dtype
    if dtype not in DTYPES.values():
        raise ModelFolderError(
            f"weights are saved as float32, bfloat16, float16 or float64, got dtype={dtype}"
        )
    for name, token in (("bos_token_id", bos_token_id), ("eos_token_id", eos_token_id)):
        if token is not None and not 0 <= token < model.config.vocab_size:
            raise ModelFolderError(
                f"{name} {token} is outside the vocabulary (0..{model.config.vocab_size - 1})"
            )
    if max_shard_bytes is not None and max_shard_bytes < 1:
        raise ModelFolderError(f"max_shard_bytes must be at least 1, got {max_shard_bytes}")
    parameters = dict(model.named_parameters())
    tensors = {
        stored.name: _join([parameters[name].detach() for name in stored.parameters], stored, dtype)
        for stored in file_tensors(model.config)
    }
    config = config_to_json(model.config, str(dtype).removeprefix("torch."), bos_token_id, eos_token_id)
    generation = {"bos_token_id": bos_token_id, "eos_token_id": eos_token_id, "do_sample": False}
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    with new_folder(folder, expected_bytes=size) as unfinished:
        _write_json(unfinished / "config.json", config)
        _write_json(unfinished / "generation_config.json", generation)
        written = write_tensors(unfinished, tensors, max_shard_bytes)
        if add_files is not None:
            written |= add_files(unfinished) or {}
        seal_folder(unfinished, kind=kind, facts=facts or {}, written=written)


def load_model(
    folder: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    verify: bool = True,
    after_each: Callable[[Transformer, list[str]], None] | None = None,
) -> Transformer:
    """The model of a folder, ours or one of Hugging Face's, in eval mode; `dtype=None` keeps the file's.

    `after_each` is called with the model and the names of the parameters that were read just now, for whoever keeps them in
    another form: where it replaces their module, the memory of what was read is free before the next is read.
    `verify=False` leaves out the SHA-256s; sizes are always checked. A foreign folder, with no manifest, loads too.
    Raises DamagedFileError naming a file that changed, and ModelFolderError for what cannot be honoured: settings that
    lm-core does not implement, pickles, and, in one list, all tensors that are missing, too many or of a wrong shape
    or dtype.
    """
    folder = _existing(folder)
    manifest = verify_folder(folder, hashes=verify)
    if manifest is None:
        log.info("%s has no manifest.json: it comes from elsewhere, so its bytes cannot be checked", folder)
    elif manifest.kind not in KINDS:
        raise ModelFolderError(
            f"{folder} is a {manifest.kind}, not a model; give a model folder or a checkpoint"
        )
    config = read_config(folder)
    with stored_tensors(folder) as stored:
        sources = _match(config, stored, folder)
        dtype = _one_dtype(sources) if dtype is None else dtype
        require_memory(config, torch.device(device), dtype.itemsize)
        with torch.device("meta"):
            model = Transformer(config)
        allocate(model, torch.device(device), dtype)
        model.to(device)  # the rotary tables, which are no parameters
        for wanted, source in sources:  # memory that nobody has written to yet takes no room
            _read_into([model.get_parameter(name) for name in wanted.parameters], source, wanted)
            if after_each is not None:
                after_each(model, list(wanted.parameters))
    return model.eval()


def read_config(folder: Path | str) -> ModelConfig:
    """The shape of a folder's model, from its `config.json` alone (checked against the manifest when there is one)."""
    folder = _existing(folder)
    manifest = read_manifest(folder)
    if manifest is not None and "config.json" in manifest.files:
        check_file(folder, "config.json", manifest.files["config.json"])
    data = read_json(folder / "config.json")
    try:
        return config_from_json(data)
    except (ModelFolderError, ConfigError) as error:
        raise ModelFolderError(f"{folder / 'config.json'}: {error}") from error


def _existing(folder: Path | str) -> Path:
    folder = Path(folder)
    if folder.is_file():
        raise ModelFolderError(f"{folder} is a file; give the folder that holds config.json and {SINGLE}")
    if not folder.is_dir():
        raise ModelFolderError(f"there is no folder {folder}; give one that holds config.json and {SINGLE}")
    return folder


def _match(
    config: ModelConfig, stored: dict[str, StoredTensor], folder: Path
) -> list[tuple[FileTensor, StoredTensor]]:
    """Each tensor that the config asks for, with the stored one that it is; one error lists all that do not fit."""
    stored = {name: tensor for name, tensor in stored.items() if not IGNORED.fullmatch(name)}
    if config.family == "gpt2" and not any(name.startswith(GPT2_PREFIX) for name in stored):
        # the first published GPT-2 files name the body's tensors only
        stored = {
            name if name.startswith("lm_head") else GPT2_PREFIX + name: tensor
            for name, tensor in stored.items()
        }
    shapes = parameter_shapes(config)
    matched, complaints = [], []
    for wanted in file_tensors(config):
        source, shape = stored.pop(wanted.name, None), stored_shape(wanted, shapes)
        if source is None:
            complaints.append(f"{wanted.name} is missing, of shape {shape}")
        elif source.shape != shape:
            complaints.append(f"{wanted.name} must have the shape {shape}, got {source.shape}")
        else:
            matched.append((wanted, source))
        if source is not None and source.dtype not in DTYPES:
            complaints.append(f"{wanted.name} must be one of {', '.join(DTYPES)}, got {source.dtype}")
    head, table = head_and_embedding(config)
    if config.tie_embeddings and head in stored and not complaints:
        _check_tied(stored.pop(head), next(source for wanted, source in matched if wanted.name == table))
    complaints += [f"{name} belongs to no part of this model" for name in stored]
    if complaints:
        listed = "\n".join(f"  {complaint}" for complaint in complaints[:LISTED])
        more = f"\n  and {len(complaints) - LISTED:,} more" if len(complaints) > LISTED else ""
        raise ModelFolderError(
            f"the weights in {folder} do not fit its config.json; take both from one model:\n{listed}{more}"
        )
    return matched


def _check_tied(head: StoredTensor, table: StoredTensor) -> None:
    """Some files keep a tied head beside the table. Fine while they are the same numbers."""
    if head.shape == table.shape and torch.equal(head.read(), table.read()):
        return
    raise ModelFolderError(
        f"config.json ties the embeddings, but {head.name} in {head.path} differs from {table.name}; "
        f'set "tie_word_embeddings" to false if the model was trained so'
    )


def _one_dtype(sources: list[tuple[FileTensor, StoredTensor]]) -> torch.dtype:
    """The stored dtype, the widest where several are mixed."""
    found = {source.dtype for _, source in sources}
    return (
        DTYPES["F32"] if found == {"F16", "BF16"} else next(DTYPES[name] for name in DTYPES if name in found)
    )


def _join(parts: list[Tensor], stored: FileTensor, dtype: torch.dtype) -> Tensor:
    joined = (parts[0] if len(parts) == 1 else torch.cat(parts))[: stored.rows]
    return (joined.T if stored.transposed else joined).to("cpu", dtype).contiguous()


@torch.no_grad()
def _read_into(parameters: list[Tensor], source: StoredTensor, stored: FileTensor) -> None:
    if stored.rows is not None:
        (parameter,) = parameters
        parameter[stored.rows :].zero_()
        parameters = [parameter[: stored.rows]]
    if len(parameters) == 1 and not stored.transposed:
        source.read_into(parameters[0])
        return
    value = source.read()
    joined = value.T if stored.transposed else value
    rows = [len(parameter) for parameter in parameters]
    for parameter, part in zip(parameters, torch.split(joined, rows), strict=True):
        parameter.copy_(part)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8", newline="\n")
