"""The public names: each is listed in `__all__`, is there, and has a docstring of its own; what is not listed is not shown."""

import ast
import importlib
import inspect
import typing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("lm_tokenizer", "lm_core", "lm_core.optim", "lm_train", "lm_generate")
NAMES = [
    (module, name)
    for module in (*MODULES, "lm_core.schedule")
    for name in importlib.import_module(module).__all__
]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda part: part)
def test_a_public_name_is_there_and_says_what_it_is(module, name):
    found = getattr(importlib.import_module(module), name)
    if inspect.isclass(found):
        # an inherited docstring is another class's
        assert "__doc__" in vars(found), f"{module}.{name} has no docstring of its own"
        assert found.__doc__
        assert not found.__doc__.startswith(f"{name}("), "the signature that dataclass writes is no docstring"
        undocumented = [
            method
            for method, value in vars(found).items()
            if not method.startswith("_") and inspect.isfunction(value) and not inspect.getdoc(value)
        ]
        assert undocumented == [], f"{module}.{name}"
    elif inspect.isfunction(found):
        assert found.__doc__, f"{module}.{name}"
    else:  # a constant or an alias of a type: its line in the source has the words
        assert isinstance(found, tuple | int | str) or typing.get_origin(found) is not None


@pytest.mark.parametrize("module", MODULES)
def test_all_is_sorted_without_repeats_and_hides_private_names(module):
    names = importlib.import_module(module).__all__
    assert len(set(names)) == len(names)
    assert sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name)) == list(names)
    assert not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize("module", MODULES)
def test_what_a_package_imports_for_its_users_is_what_it_lists(module):
    path = (
        ROOT
        / "packages"
        / module.split(".")[0].replace("_", "-")
        / "src"
        / module.replace(".", "/")
        / "__init__.py"
    )
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lm_")
        for alias in node.names
    }
    assert imported == set(importlib.import_module(module).__all__)
