"""`scripts/release.py`: what it refuses, on a small repository with one fault each; and which licences it takes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import release  # noqa: E402

FACTS = {
    "packages": {"lm-small": {"may_import": []}},
    "release": {"tag": "{package}-v{version}", "changelog": "CHANGELOG.md"},
}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-C", folder, "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def tree(tmp_path):
    """One package at 0.2.0, ready to be released."""
    folder = tmp_path / "packages/lm-small"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "lm-small"\nversion = "0.2.0"\n')
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## 0.2.0 (2026-11-21)\n\n- New.\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return tmp_path


def commit(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "all")


def refused(tree: Path, package: str = "lm-small") -> str:
    return "\n".join(release.refusals(tree, FACTS, package))


def test_a_tree_that_is_ready_is_not_refused(tree):
    assert refused(tree) == ""
    assert release.tag_of(tree, FACTS, "lm-small") == "lm-small-v0.2.0"


def test_an_unknown_package_is_refused_with_the_known_ones(tree):
    assert refused(tree, "lm-smal") == "no package named lm-smal; there are lm-small"


def test_a_change_without_a_commit_is_refused(tree):
    (tree / "left.txt").write_text("x")
    assert "changes that no commit has (?? left.txt, 1 in all)" in refused(tree)


def test_a_version_without_its_heading_is_refused(tree):
    (tree / "packages/lm-small/CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0 (2026-01-01)\n")
    commit(tree)
    assert "version 0.2.0, but its CHANGELOG begins with 0.1.0" in refused(tree)


def test_a_missing_changelog_is_refused(tree):
    (tree / "packages/lm-small/CHANGELOG.md").unlink()
    commit(tree)
    assert "its CHANGELOG begins with no version heading" in refused(tree)


def test_a_heading_that_still_says_unreleased_is_refused(tree):
    (tree / "packages/lm-small/CHANGELOG.md").write_text("# Changelog\n\n## 0.2.0 (unreleased)\n")
    commit(tree)
    assert refused(tree).endswith(
        '## 0.2.0 (YYYY-MM-DD); write the day of the release in the place of "unreleased"'
    )


def test_a_tag_of_this_commit_is_fine_and_one_of_another_is_refused(tree):
    git(tree, "tag", "lm-small-v0.2.0")
    assert refused(tree) == ""
    (tree / "more.txt").write_text("x")
    commit(tree)
    assert refused(tree) == (
        "the tag lm-small-v0.2.0 is another commit's; a released version never changes, so raise the version"
    )


def test_what_would_be_released_now_is_told_without_building():
    command = [sys.executable, ROOT / "scripts/release.py", "lm-nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no package named lm-nothing; there are lm-tokenizer, lm-core" in done.stderr


def test_a_licence_that_nobody_has_looked_at_is_named():
    installed = {
        "by-expression": ["MIT AND (Apache-2.0 OR GPL-3.0-only)", [], None],
        "by-classifier": [None, ["BSD License"], None],
        "by-text": [None, [], "MIT License\n\nCopyright"],
        "nvidia-cublas": [None, ["Other/Proprietary License"], None],
        "copyleft": ["MIT AND GPL-3.0-only", [], None],
        "silent": [None, [], None],
    }
    assert list(release.unknown_licences(installed)) == [
        "copyleft: MIT AND GPL-3.0-only",
        "silent: says nothing",
    ]
