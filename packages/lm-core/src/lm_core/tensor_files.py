"""The safetensors files of a folder: which there are, and what their headers say, before any tensor is read."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lm_core.errors import DamagedFileError, ModelFolderError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
LARGEST_JSON = 64 * 2**20  # bytes; the index of the largest published models is a tenth of it


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: where, and its header's shape and dtype ("F32", "BF16", ...)."""

    file: Any  # an open safetensors file
    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str

    def read(self) -> Tensor:
        """The tensor's values, while the file is open."""
        value: Tensor = self.file.get_tensor(self.name)
        return value


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size; ModelFolderError says what is wrong otherwise."""
    if not path.is_file():
        raise ModelFolderError(f"{path} is missing")
    if path.stat().st_size > LARGEST_JSON:
        raise ModelFolderError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST_JSON:,} are read")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise DamagedFileError(f"{path} holds {type(data).__name__}, not a JSON object")
    return data


@contextlib.contextmanager
def stored_tensors(folder: Path) -> Iterator[dict[str, StoredTensor]]:
    """All tensors of the folder's file or shards, by name, as long as the block runs. Nothing is read but headers."""
    with contextlib.ExitStack() as open_files:
        found: dict[str, StoredTensor] = {}
        for path in tensor_file_paths(folder):
            file = open_files.enter_context(_open(path))
            for name in file.keys():  # noqa: SIM118  (an open safetensors file is no mapping)
                if name in found:
                    raise ModelFolderError(f"{name} is in both {found[name].path} and {path}")
                header = file.get_slice(name)
                found[name] = StoredTensor(file, path, name, tuple(header.get_shape()), header.get_dtype())
        yield found


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
    raise ModelFolderError(f"{folder} has neither {SINGLE} nor {INDEX}: it holds no weights")


def _shards(folder: Path) -> list[Path]:
    index = folder / INDEX
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise DamagedFileError(f'{index} has no "weight_map" from tensor names to file names')
    files = sorted(set(weight_map.values()))
    for file in files:
        plain = file == Path(file).name and "\\" not in file and ":" not in file and "\0" not in file
        if not plain or not file.endswith(".safetensors"):
            raise ModelFolderError(
                f"{index} names the file {file!r}; only .safetensors files in the same folder are read"
            )
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise ModelFolderError(f"{index} lists files that are missing: {', '.join(missing)}")
    return [folder / file for file in files]


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path} is not a whole safetensors file: {error}") from error
