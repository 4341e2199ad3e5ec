"""No package reads or writes a pickle: neither its sources nor what it runs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "packages").glob("*/src/**/*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_source_file_calls_nothing_that_pickles(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & {
                "pickle",
                "shelve",
                "joblib",
                "dill",
            }
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            assert called not in {"torch.load", "torch.save", "pickle.load", "pickle.loads"}, called
            if called in {"np.load", "numpy.load"}:
                allowed = [word for word in node.keywords if word.arg == "allow_pickle"]
                assert allowed, f"{path.name}: np.load without allow_pickle=False"
                assert all(
                    isinstance(word.value, ast.Constant) and word.value.value is False for word in allowed
                )
