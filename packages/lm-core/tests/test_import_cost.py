import subprocess
import sys
import types


def test_importing_lm_core_brings_in_little_beyond_torch():
    code = "import torch, sys; before = set(sys.modules); import lm_core; print(*sorted(set(sys.modules) - before))"
    added = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    packages = {name.split(".")[0] for name in added} - set(sys.stdlib_module_names)
    assert packages <= {
        "lm_core",
        "jaxtyping",
        "safetensors",
        "wadler_lindig",
        "numpy",
    }  # torch imports numpy, too


def test_everything_that_is_listed_is_there_and_nothing_else_is():
    import lm_core

    public = {
        name
        for name, value in vars(lm_core).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(lm_core.__all__)
