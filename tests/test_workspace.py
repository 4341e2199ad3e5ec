"""`workspace.toml` against the tree, and the checker against trees with one fault each."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_workspace = load_script("check_workspace")


def test_the_tree_agrees_with_workspace_toml():
    assert check_workspace.problems(ROOT) == []


@pytest.fixture
def copy(tmp_path):
    """A copy of every tracked file, small enough to break on purpose."""
    for path in check_workspace.tracked_files(ROOT):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    write(path, text.replace(old, new, 1))


def found(root: Path) -> str:
    return "\n".join(check_workspace.problems(root))


def test_a_copy_without_git_is_checked_too(copy):
    assert found(copy) == ""


def test_an_import_against_the_arrows_is_named(copy):
    write(
        copy / "packages/lm-generate/src/lm_generate/shortcut.py", "def f():\n    from lm_train import loop\n"
    )
    assert "shortcut.py: imports lm_train, which lm-generate may not" in found(copy)


def test_lm_core_may_not_know_tokenizers(copy):
    write(copy / "packages/lm-core/src/lm_core/shortcut.py", "import lm_tokenizer\n")
    assert "imports lm_tokenizer, which lm-core may not" in found(copy)


def test_a_file_that_grew_too_long_is_named(copy):
    write(copy / "packages/lm-core/src/lm_core/long.py", "x = 1\n" * 401)
    assert "long.py: 401 lines" in found(copy)


def test_an_unknown_top_level_name_is_named(copy):
    write(copy / "notes.txt", "x")
    assert "notes.txt: not one of the top-level names" in found(copy)


def test_a_version_that_its_changelog_does_not_know_is_named(copy):
    edit(copy / "packages/lm-core/pyproject.toml", 'version = "0.1.0"', 'version = "0.1.7"')
    assert "version 0.1.7, but its CHANGELOG begins with 0.1.0" in found(copy)


def test_a_bound_that_shuts_out_the_siblings_version_is_named(copy):
    edit(copy / "packages/lm-train/pyproject.toml", "lm-core>=0.1,<0.2", "lm-core>=0.2,<0.3")
    assert "shuts out the sibling's own version 0.1.0" in found(copy)


def test_a_sibling_without_bounds_is_named(copy):
    edit(copy / "packages/lm-train/pyproject.toml", "lm-core>=0.1,<0.2", "lm-core")
    assert "needs a lower and an upper bound" in found(copy)


def test_a_format_version_that_the_code_does_not_have_is_named(copy):
    workspace = copy / "workspace.toml"
    edit(workspace, "version = 1\nconstant", "version = 2\nconstant")
    assert "workspace.toml says 2" in found(copy)


def test_a_missing_changelog_is_named(copy):
    (copy / "packages/lm-generate/CHANGELOG.md").rename(copy / "packages/lm-generate/NEWS.md")
    assert "packages/lm-generate/CHANGELOG.md: missing or empty" in found(copy)


def test_two_test_helpers_of_one_name_are_named(copy):
    write(copy / "packages/lm-generate/tests/tiny_models.py", "x = 1\n")
    assert "tiny_models.py: both in" in found(copy)


def test_a_release_tag_must_name_a_package_at_its_present_version():
    facts = check_workspace.read_toml(ROOT / "workspace.toml")
    version = check_workspace.package_version(ROOT, "lm-tokenizer")
    assert list(check_workspace.check_tag(ROOT, facts, f"lm-tokenizer-v{version}")) == []
    (problem,) = check_workspace.check_tag(ROOT, facts, "lm-tokenizer-v99.0.0")
    assert f"the tags that fit the tree are lm-tokenizer-v{version}" in problem


def test_pyo3_may_not_enter_the_pure_crate(copy):
    edit(copy / "rust/lm-bpe/Cargo.toml", "[dependencies]", '[dependencies]\npyo3 = "0.29"')
    assert "rust/lm-bpe: must not depend on pyo3" in found(copy)


@pytest.mark.parametrize("script", ["train_tokenizer.sh", "train_transformer.sh", "infer_transformer.sh"])
def test_sourcing_a_tour_script_never_closes_the_shell(script, tmp_path):
    # A stand-in for uv fails on purpose: the shell that sources the script must live on all the same.
    fake = tmp_path / "uv"
    write(fake, '#!/bin/sh\necho "uv $*"\nexit 3\n')
    fake.chmod(0o755)
    command = f'source "{ROOT}/scripts/{script}"; echo "still here, status $?"'
    shell = subprocess.run(
        ["bash", "-c", command],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shell.stdout.splitlines()[-1] == "still here, status 3"
    assert shell.stdout.startswith("uv run --package lm-")


def test_the_package_tester_refuses_an_unknown_package():
    command = [sys.executable, str(ROOT / "scripts/test_packages.py"), "lm-nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        "no package named lm-nothing; there are lm-tokenizer, lm-core, lm-train, lm-generate" in done.stderr
    )
