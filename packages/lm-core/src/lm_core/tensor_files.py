"""The safetensors files of a folder: which there are, what their headers say, and their numbers straight into place.

The format: 8 bytes n (little-endian), n bytes of JSON {name: {"dtype", "shape", "data_offsets": [begin, end]}}, the data.
safetensors itself checks each file; the data is read here, because its memory map would count twice while loading.
"""

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lm_core.errors import DamagedFileError, ModelFolderError
from lm_core.manifest import FileEntry
from lm_core.tensor_writer import write_safetensors

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
METADATA = {"format": "pt"}
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
READ_AT_ONCE = 1 << 22  # elements converted at a time, when the file's dtype is not the wanted one
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
LARGEST_JSON = 64 * 2**20  # bytes; the index of the largest published models is a tenth of it


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: where, and its header's shape and dtype ("F32", "BF16", ...). Read while the file is open."""

    file: BinaryIO
    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    """Where in the file its first byte is."""

    def read(self) -> Tensor:
        """The tensor's values, on the CPU, in the file's dtype."""
        value = torch.empty(self.shape, dtype=DTYPES[self.dtype], device="cpu")
        self.read_into(value)
        return value

    def read_into(self, target: Tensor) -> None:
        """Fills a tensor of the same shape, of any dtype and on any device, with no second copy of it in memory."""
        assert tuple(target.shape) == self.shape
        self.file.seek(self.offset)
        if target.device.type == "cpu" and target.is_contiguous() and target.dtype == DTYPES[self.dtype]:
            self._fill(target)
            return
        flat = target.view(-1)
        buffer = torch.empty(min(READ_AT_ONCE, flat.numel()), dtype=DTYPES[self.dtype], device="cpu")
        for piece in torch.split(flat, READ_AT_ONCE):
            self._fill(buffer[: piece.numel()])
            piece.copy_(buffer[: piece.numel()])

    def _fill(self, target: Tensor) -> None:
        numbers: Any = target.detach().view(-1).view(torch.uint8).numpy()
        wanted = memoryview(numbers)
        while len(wanted):
            got = self.file.readinto(wanted)  # type: ignore[attr-defined]  # a raw file's; may be fewer bytes
            if not got:
                raise DamagedFileError(f"{self.path} ends within {self.name}; restore it from a good copy")
            wanted = wanted[got:]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size; ModelFolderError says what is wrong otherwise."""
    if not path.is_file():
        raise ModelFolderError(f"{path} is missing; give the folder of a whole model")
    if path.stat().st_size > LARGEST_JSON:
        raise ModelFolderError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST_JSON:,} are read")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is not valid JSON: {error}; fetch it again") from error
    if not isinstance(data, dict):
        raise DamagedFileError(
            f"{path} holds {type(data).__name__}, not a JSON object; restore it from a good copy"
        )
    return data


@contextlib.contextmanager
def stored_tensors(folder: Path) -> Iterator[dict[str, StoredTensor]]:
    """All tensors of the folder's file or shards, by name, as long as the block runs. Nothing is read but headers."""
    with contextlib.ExitStack() as open_files:
        found: dict[str, StoredTensor] = {}
        for path in tensor_file_paths(folder):
            _check(path)
            file = open_files.enter_context(open(path, "rb", buffering=0))
            header_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(header_bytes))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                if name in found:
                    raise ModelFolderError(
                        f"{name} is in both {found[name].path} and {path}; remove the file that is of another model"
                    )
                start = 8 + header_bytes + entry["data_offsets"][0]
                found[name] = StoredTensor(file, path, name, tuple(entry["shape"]), entry["dtype"], start)
        yield found


def write_tensors(
    folder: Path, tensors: dict[str, Tensor], max_shard_bytes: int | None = None
) -> dict[str, FileEntry]:
    """`model.safetensors`, or shards of at most `max_shard_bytes` of data each and the index that lists them; gives the files of tensors.

    Shards are filled in order; a tensor that is larger than the limit has one of its own. The names and the index are
    transformers': model-00001-of-00003.safetensors, {"metadata": {"total_size": bytes}, "weight_map": {tensor: file}}.
    """
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > (math.inf if max_shard_bytes is None else max_shard_bytes):
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    if len(shards) == 1:
        return {SINGLE: write_safetensors(folder / SINGLE, tensors, METADATA)}
    weight_map: dict[str, str] = {}
    written = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        held_here = {name: tensors[name] for name in names}
        written[file] = write_safetensors(folder / file, held_here, METADATA)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    (folder / INDEX).write_text(
        json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8", newline="\n"
    )
    return written


def tensor_file_paths(folder: Path) -> list[Path]:
    """`model.safetensors`, or the shards that `model.safetensors.index.json` lists. Refuses pickles."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if (folder / INDEX).is_file():
        return _shards(folder)
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise ModelFolderError(
            f"{folder} holds pickles ({', '.join(pickles)}), which can run any code when they are opened, so they are "
            f'not read. Convert them once, where you trust them: python -c "from transformers import AutoModelForCausalLM '
            f"as M; M.from_pretrained('{folder}').save_pretrained('{folder}-safetensors')\""
        )
    raise ModelFolderError(
        f"{folder} has neither {SINGLE} nor {INDEX}: it holds no weights; give the folder of a model"
    )


def _shards(folder: Path) -> list[Path]:
    index = folder / INDEX
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise DamagedFileError(f'{index} has no "weight_map" from tensor names to file names; fetch it again')
    files = sorted(set(weight_map.values()))
    for file in files:
        plain = file == Path(file).name and "\\" not in file and ":" not in file and "\0" not in file
        if not plain or not file.endswith(".safetensors"):
            raise ModelFolderError(
                f"{index} names the file {file!r}; only .safetensors files in the same folder are read"
            )
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise ModelFolderError(
            f"{index} lists files that are missing: {', '.join(missing)}; fetch them again"
        )
    return [folder / file for file in files]


def _check(path: Path) -> None:
    """safetensors' own checks: the header is JSON of bounded size, its tensors fill the file without gap or overlap."""
    try:
        with safe_open(path, framework="pt", device="cpu"):
            pass
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(
            f"{path} is not a whole safetensors file: {error}; fetch it again, or restore it from a good copy"
        ) from error
