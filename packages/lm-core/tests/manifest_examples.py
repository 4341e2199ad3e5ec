"""A small sealed folder that several tests damage, and the child process that they kill."""

from pathlib import Path

from lm_core.manifest import new_folder, seal_folder

FILES = {
    "config.json": b'{"a": 1}',
    "model.safetensors": bytes(range(40)),
    "state/optimizer.bin": b"moments",
    "empty": b"",
}

# Commits folder after folder, and says so, until it is killed. lm_core/__init__.py is stood in for, so that torch is not loaded.
COMMIT_FOREVER = """
import importlib.util, itertools, os, sys, types
package = types.ModuleType("lm_core")
package.__path__ = list(importlib.util.find_spec("lm_core").submodule_search_locations)
sys.modules["lm_core"] = package
from lm_core.manifest import new_folder, seal_folder
target = sys.argv[1]
for step in itertools.count():
    with new_folder(os.path.join(target, f"step-{step:08d}")) as folder:
        (folder / "state").mkdir()
        for name in ("model.bin", "state/optimizer.bin"):
            (folder / name).write_bytes(os.urandom(20_000))
        seal_folder(folder, kind="checkpoint", facts={"step": step})
    print(step, flush=True)
"""


def make_sealed_folder(target: Path) -> Path:
    with new_folder(target) as folder:
        (folder / "state").mkdir()
        for name, content in FILES.items():
            (folder / name).write_bytes(content)
        seal_folder(folder, kind="model", facts={"step": 7, "text": "grün"})
    return target
