"""Settings in files: TOML or YAML in, TOML out, and the recipes that ship with the package.

A file is checked against the dataclasses before anything else sees it: an unknown key or a wrong type names the file, the key and
what would be right. `to_toml(read_config([...]))` can be fed back: it is what `--print-config` prints and a run folder keeps.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from lm_train.config import BUDGETS, TrainConfig
from lm_train.errors import ConfigError

_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def recipes() -> list[str]:
    """Names of the recipes in the package, sorted."""
    folder = resources.files("lm_train") / "recipes"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def read_settings(name: str) -> dict[str, Any]:
    """The checked settings of one file or recipe, nested as written. Raises ConfigError."""
    path = Path(name)
    if name in recipes() and not path.is_file():
        source, text, kind = f"recipe {name}", _recipe_text(name), "toml"
    else:
        source, text, kind = name, _file_text(path), path.suffix.lower().removeprefix(".")
    parsed = _parse(text, kind, source)
    _check_table(TrainConfig, parsed, source, ())
    return parsed


def merge(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One table from several, later ones winning key by key; a later budget replaces an earlier one of any unit."""
    merged: dict[str, Any] = {}
    for layer in layers:
        if any(key in layer for key in BUDGETS):
            for key in BUDGETS:
                merged.pop(key, None)
        for key, value in layer.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


def build(settings: dict[str, Any]) -> TrainConfig:
    """The config of a checked table. Raises ConfigError for values out of range."""
    hints = get_type_hints(TrainConfig)
    values = {
        key: hints[key](**_tuples(value)) if isinstance(value, dict) else value
        for key, value in settings.items()
    }
    return TrainConfig(**_tuples(values))


def read_config(names: Sequence[str]) -> TrainConfig:
    """The config that files and recipes give together, later ones winning."""
    return build(merge([read_settings(name) for name in names]))


def with_settings(config: TrainConfig, changes: Mapping[str, Any], source: str) -> TrainConfig:
    """`config` with other values for some settings, named as flags are ("optim.lr"); checked as a file's would be."""
    layer: dict[str, Any] = {}
    for name, value in changes.items():
        table, _, key = name.replace("-", "_").rpartition(".")
        (layer.setdefault(table, {}) if table else layer)[key] = value
    _check_table(TrainConfig, layer, source, ())
    return build(merge([to_settings(config), layer]))


def value_of(text: str) -> Any:
    """What a value written on the command line is in a settings file: 1e-3, true, [1, 2]; anything else is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_settings(config: TrainConfig) -> dict[str, Any]:
    """The config as a nested table of plain values, without those that are None."""
    table = dataclasses.asdict(config)
    return {
        key: {k: _plain(v) for k, v in value.items() if v is not None}
        if isinstance(value, dict)
        else _plain(value)
        for key, value in table.items()
        if value is not None
    }


def to_toml(config: TrainConfig) -> str:
    """The config as TOML that `--config` reads back to the same config."""
    import tomli_w

    return tomli_w.dumps(to_settings(config))


def differences(config: TrainConfig, base: TrainConfig | None = None) -> list[tuple[str, Any, Any]]:
    """(key, value in base, value here) of every setting that differs; base is the defaults unless given."""
    ours, theirs = dataclasses.asdict(config), dataclasses.asdict(base or TrainConfig())
    found = []
    for key, value in ours.items():
        if isinstance(value, dict):
            found += [(f"{key}.{k}", theirs[key][k], v) for k, v in value.items() if v != theirs[key][k]]
        elif value != theirs[key]:
            found.append((key, theirs[key], value))
    return found


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _recipe_text(name: str) -> str:
    return (resources.files("lm_train") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")


def _file_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = recipes()
        near = difflib.get_close_matches(str(path), known, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; recipes: {', '.join(known)}"
        raise ConfigError(f"--config {path}: no such file or recipe{hint}") from None
    except IsADirectoryError:
        inside = Path(path) / "config.toml"
        hint = f"give its config.toml: --config {inside}" if inside.is_file() else "give a TOML or YAML file"
        raise ConfigError(f"--config {path}: a folder; {hint}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--config {path}: not a text file; a TOML or YAML file is wanted") from None
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read: {error.strerror}") from None


def _parse(text: str, kind: str, source: str) -> dict[str, Any]:
    if kind == "toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{source}: not valid TOML: {error}; mend it there") from None
    if kind in ("yaml", "yml"):
        import yaml  # type: ignore[import-untyped]

        class Loader(yaml.SafeLoader):
            """YAML 1.1 asks for a dot in 3.0e-4; without it the number would be text."""

        Loader.add_implicit_resolver(
            "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
        )
        try:
            parsed = yaml.load(text, Loader)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"{source}: not valid YAML: {' '.join(str(error).split())}; mend it there"
            ) from None
        if parsed is None:
            return {}
        if not isinstance(parsed, dict):
            raise ConfigError(f"{source}: a table of settings is wanted, got {type(parsed).__name__}")
        return parsed
    raise ConfigError(f"{source}: a settings file must end in .toml, .yaml or .yml")


def _check_table(kind: type, table: dict[str, Any], source: str, path: tuple[str, ...]) -> None:
    hints = get_type_hints(kind)
    for key, value in table.items():
        name = ".".join((*path, str(key)))
        if key not in hints:
            raise ConfigError(f"{source}: unknown key {name}{_nearest(name)}")
        wanted = hints[key]
        if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
            if not isinstance(value, dict):
                raise ConfigError(f"{source}: {name} is a table of settings, got {_show(value)}")
            _check_table(wanted, value, source, (*path, key))
        elif (problem := _mismatch(value, wanted)) is not None:
            raise ConfigError(f"{source}: {name} must be {problem}, got {_show(value)}")


def _mismatch(value: Any, wanted: Any) -> str | None:
    """What a value of this type looks like, or None where `value` is one."""
    origin = get_origin(wanted)
    if origin is Annotated:
        return _mismatch(value, get_args(wanted)[0])
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in get_args(wanted) if kind is not type(None)]
        return next((_mismatch(value, kind) for kind in kinds), None)
    if origin is Literal:
        choices = get_args(wanted)
        return None if value in choices else "one of " + ", ".join(f'"{choice}"' for choice in choices)
    if origin is tuple:
        item = get_args(wanted)[0]
        if isinstance(value, list) and all(_mismatch(v, item) is None for v in value):
            return None
        return f"a list, each {_mismatch(object(), item)}"
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return None
    if isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool)):
        return None
    return _NAMES[wanted]


def _nearest(name: str) -> str:
    known = [*_keys(), *_TABLES]
    near = difflib.get_close_matches(name, known, 1)
    if not near:  # the right name in the wrong table
        near = [key for key in known if key.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return (
        f"; did you mean {near[0]}?"
        if near
        else f"; known: {', '.join(sorted(k for k in known if '.' not in k))}"
    )


_TABLES = tuple(key for key, value in dataclasses.asdict(TrainConfig()).items() if isinstance(value, dict))


def _keys() -> list[str]:
    found = []
    for key, value in dataclasses.asdict(TrainConfig()).items():
        found += [f"{key}.{inner}" for inner in value] if isinstance(value, dict) else [key]
    return found


def _show(value: Any) -> str:
    return (
        f'"{value}"'
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
