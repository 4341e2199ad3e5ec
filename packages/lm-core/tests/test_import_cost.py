import ast
import graphlib
import subprocess
import sys
import types
from pathlib import Path

import lm_core
import pytest

FIRST_MINUTE = """if True:
    import sys
    import torch
    before = set(sys.modules)
    import lm_core
    print(*set(sys.modules) - before)
    from lm_core.optim import AdamW, Muon, split_parameters
    folder = sys.argv[1]
    config = lm_core.ModelConfig(vocab_size=10, d_model=8, n_layers=1, n_heads=1)
    model = lm_core.Transformer(config)
    lm_core.save_model(model, folder)
    lm_core.load_model(folder)
    matrices, rest = split_parameters(model)
    for optimizer in (Muon(matrices), AdamW(rest)):
        model.loss(*torch.zeros(2, 1, 4, dtype=torch.int64)).backward()
        optimizer.step()
    print(*{"torch._dynamo", "sympy"} & set(sys.modules))"""


@pytest.fixture(scope="module")
def brought_in(tmp_path_factory):
    """Modules that importing lm_core adds to torch's, and compilers that are there after a model was saved, loaded and trained a step."""
    command = [sys.executable, "-c", FIRST_MINUTE, str(tmp_path_factory.mktemp("import") / "model")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split() for line in said.splitlines()]


def test_importing_lm_core_brings_in_little_beyond_torch(brought_in):
    packages = {name.split(".")[0] for name in brought_in[0]} - set(sys.stdlib_module_names)
    assert "lm_core" in packages
    # torch imports numpy, too
    assert packages <= {"lm_core", "jaxtyping", "safetensors", "wadler_lindig", "numpy"}


def test_building_saving_loading_and_training_a_model_brings_in_no_compiler(brought_in):
    # torch answers innocent questions on the "meta" device by importing its compiler and sympy: seconds of every start.
    assert brought_in[1] == []


def test_everything_that_is_listed_is_there_and_nothing_else_is():
    assert all(hasattr(lm_core, name) for name in lm_core.__all__)  # looked up now, and kept
    public = {
        name
        for name, value in vars(lm_core).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public - {"TYPE_CHECKING", "Any", "import_module"} == set(lm_core.__all__)
    with pytest.raises(AttributeError, match="'lm_core' has no attribute 'nothing'"):
        _ = lm_core.nothing


def test_what_needs_no_model_needs_no_torch():
    command = [
        sys.executable,
        "-c",
        "import sys, lm_core.manifest, lm_core.atomic_folder; sys.exit('torch' in sys.modules)",
    ]
    assert subprocess.run(command, check=False).returncode == 0


def test_modules_import_each_other_in_one_order_and_never_inside_a_function():
    package = Path(lm_core.__file__).parent
    arrows = {}
    for path in sorted(package.rglob("*.py")):
        if path.name == "__init__.py":
            continue
        name = "lm_core." + ".".join(path.relative_to(package).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        everywhere = imported_from_here(ast.walk(tree))
        for_types = imported_from_here(
            node
            for block in tree.body
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in block.body
        )
        arrows[name] = imported_from_here(tree.body)
        assert everywhere == arrows[name] | for_types, f"{name} imports inside a function"
    assert len(list(graphlib.TopologicalSorter(arrows).static_order())) >= len(arrows)


def imported_from_here(nodes):
    return {
        node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lm_core.")
    }
