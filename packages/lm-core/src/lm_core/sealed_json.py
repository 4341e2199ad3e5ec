"""JSON files that notice damage to themselves: `{..., "sha256": "..."}`.

The "sha256" of a sealed file covers the canonical form of everything else in it (keys sorted by code point, no
spaces, UTF-8, no NaN). The file itself is written indented, for people; because the layout follows from
the content, a reader can also tell a changed space. So no byte of it can change unnoticed.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from lm_core.atomic_folder import write_file_atomically
from lm_core.errors import ConfigError, DamagedFileError

SEAL = "sha256"


def canonical_json(payload: dict[str, Any]) -> bytes:
    """The one spelling of a payload that is hashed: keys sorted, no spaces, UTF-8, floats as Python's repr."""
    text = json.dumps(payload, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def write_sealed_json(path: Path | str, payload: dict[str, Any]) -> None:
    """Writes `payload` with its seal: aside, fsynced, renamed to `path`. `read_sealed_json` gives it back.

    Tuples become lists. A `ConfigError` names the entry that JSON cannot hold exactly (NaN, a key that is not a
    string, an object), or says that the payload has a "sha256" of its own at the top.
    """
    if SEAL in payload:
        raise ConfigError(f'{path}: the key "{SEAL}" is the seal itself; name that entry differently')
    plain = _plain_object(payload, "")
    write_file_atomically(path, _render(plain, _seal_of(plain)))


def read_sealed_json(path: Path | str) -> dict[str, Any]:
    """The payload of a sealed file, without its seal; `DamagedFileError` if any byte of it was changed.

    A missing file is a `FileNotFoundError`.
    """
    content = Path(path).read_bytes()
    try:
        payload = json.loads(
            content.decode(), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged: it is not valid JSON ({error}){_ADVICE}") from error
    if not isinstance(payload, dict) or not isinstance(payload.get(SEAL), str):
        raise DamagedFileError(f'{path} is damaged: it has no "{SEAL}" that seals it{_ADVICE}')
    written = payload.pop(SEAL)
    try:
        actual, rendered = _seal_of(payload), _render(payload, written)
    except ValueError as error:  # a number or character that we never write
        raise DamagedFileError(f"{path} is damaged: {error}{_ADVICE}") from error
    if actual != written:
        raise DamagedFileError(
            f"{path} is damaged: its content has SHA-256 {actual}, its seal says {written}{_ADVICE}"
        )
    if rendered != content:
        raise DamagedFileError(f"{path} was changed after it was written: its spacing is not ours{_ADVICE}")
    return payload


_ADVICE = "; restore it from a good copy"


def _seal_of(payload: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(payload)).hexdigest()


def _render(payload: dict[str, Any], seal: str) -> bytes:
    text = json.dumps(payload | {SEAL: seal}, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2)
    return (text + "\n").encode()


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} comes twice")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _plain_object(value: dict[Any, Any], where: str) -> dict[str, Any]:
    result = {}
    for key, item in value.items():
        if type(key) is not str:
            raise ConfigError(f"JSON keys are strings; {where or 'the top level'} has the key {key!r}")
        _plain(key, f"the key {key!r}")
        result[key] = _plain(item, f"{where}.{key}" if where else key)
    return result


def _plain(value: Any, where: str) -> Any:
    """A copy of `value` in the types that JSON has and gives back unchanged."""
    if isinstance(value, dict):
        return _plain_object(value, where)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if type(value) is float and not math.isfinite(value):
        raise ConfigError(f"{where} is {value}, which JSON cannot hold; use null or leave it out")
    if type(value) is str and any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(
            f"{where} holds half a character (a lone surrogate), which UTF-8 cannot hold; take it out"
        )
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ConfigError(
        f"{where} is of type {type(value).__name__}; JSON holds numbers, text, true/false, null, lists, objects"
    )
