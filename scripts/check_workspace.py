"""Proves the tree against `workspace.toml`: layout, import arrows, versions, formats, tests' marks.

    python scripts/check_workspace.py                          # exit 0 and one line, or exit 1 and one line a problem
    python scripts/check_workspace.py --tag lm-core-v0.1.0     # also: the tag names a package and its present version

Standard library only, so that it runs before anything is installed.
"""

import argparse
import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def read_toml(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)


def tracked_files(root: Path) -> list[Path]:
    """Files that git tracks or would track; without git, every file outside build folders."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listing = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        skip = {".venv", "target", "__pycache__", ".git", "runs", "datasets"}
        return [p for p in root.rglob("*") if p.is_file() and not skip & set(p.relative_to(root).parts)]
    return [root / name for name in listing.split("\0") if name and (root / name).is_file()]


def imported_modules(path: Path) -> set[str]:
    """Top-level names of every module that the file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def check_layout(root: Path, facts: dict[str, Any], files: list[Path]) -> Iterator[str]:
    layout = facts["layout"]
    top = {path.relative_to(root).parts[0] for path in files}
    for name in sorted(top - set(layout["top_level"])):
        if not name.startswith("."):
            yield f"{name}: not one of the top-level names in workspace.toml"
    for name in sorted(set(layout["top_level"]) - top):
        yield f"{name}: named in workspace.toml, missing at the top level"
    for package in facts["packages"]:
        folder = root / "packages" / package
        module = folder / "src" / package.replace("-", "_")
        for name in layout["every_package"]:
            entry = folder / name
            if not entry.exists() or (entry.is_dir() and not any(entry.iterdir())):
                yield f"packages/{package}/{name}: missing or empty"
        if not (module / "py.typed").exists():
            yield f"packages/{package}: {module.name}/py.typed is missing"
    for folder in (root / "packages").iterdir():
        if folder.is_dir() and folder.name not in facts["packages"]:
            yield f"packages/{folder.name}: not described in workspace.toml"
    for path in files:
        if path.suffix in {".py", ".rs"} and "golden" not in path.parts:
            lines = path.read_bytes().count(b"\n")
            if lines > layout["longest_file"]:
                yield f"{path.relative_to(root)}: {lines} lines, at most {layout['longest_file']} wanted"
    for name in layout["reading_order"]:
        path = root / name
        if not path.exists():
            yield f"{name}: in the reading order, missing"
        elif (lines := path.read_bytes().count(b"\n")) >= layout["reading_limit"]:
            yield f"{name}: {lines} lines; a file of the reading order has under {layout['reading_limit']}"


def check_arrows(root: Path, facts: dict[str, Any], files: list[Path]) -> Iterator[str]:
    modules = {package.replace("-", "_"): package for package in facts["packages"]}
    for package, entry in facts["packages"].items():
        allowed = {package, *entry["may_import"]}
        source = root / "packages" / package
        for path in files:
            if path.suffix != ".py" or not path.is_relative_to(source):
                continue
            names = imported_modules(path)
            for name in sorted(names & set(modules)):
                if modules[name] not in allowed:
                    yield f"{path.relative_to(root)}: imports {name}, which {package} may not"
            if path.is_relative_to(source / "src") and names & {"tests", "scripts"}:
                yield f"{path.relative_to(root)}: imports from tests/ or scripts/"
        declared = {
            re.split(r"[\s<>=!~\[;]", line, maxsplit=1)[0]
            for line in read_toml(source / "pyproject.toml")["project"].get("dependencies", [])
        }
        siblings = declared & set(facts["packages"])
        if siblings != set(entry["may_import"]):
            yield f"packages/{package}: depends on {sorted(siblings)}, workspace.toml says {entry['may_import']}"
        for line in read_toml(source / "pyproject.toml")["project"].get("dependencies", []):
            if line.startswith("lm-") and not re.fullmatch(r"lm-[a-z]+>=0\.\d+,<0\.\d+", line):
                yield f"packages/{package}: {line!r} needs a lower and an upper bound, such as lm-core>=0.1,<0.2"
    for crate, entry in facts["crates"].items():
        dependencies = read_toml(root / "rust" / crate / "Cargo.toml").get("dependencies", {})
        for name in sorted(set(dependencies) & set(facts["crates"]) - set(entry["may_depend"])):
            yield f"rust/{crate}: may not depend on {name}"
        for name in sorted(set(dependencies) & set(entry["must_not_depend"])):
            yield f"rust/{crate}: must not depend on {name}"


def package_version(root: Path, package: str) -> str:
    project = read_toml(root / "packages" / package / "pyproject.toml")
    if "version" in project["project"].get("dynamic", []):  # maturin takes it from the binding crate
        manifest = root / "packages" / package / project["tool"]["maturin"]["manifest-path"]
        return str(read_toml(manifest)["package"]["version"])
    return str(project["project"]["version"])


def check_versions(root: Path, facts: dict[str, Any]) -> Iterator[str]:
    for package in facts["packages"]:
        version = package_version(root, package)
        path = root / "packages" / package / facts["release"]["changelog"]
        changelog = path.read_text(encoding="utf-8") if path.exists() else ""
        heading = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)
        if heading is None or heading[1] != version:
            found = heading[1] if heading else "no version heading"
            yield f"packages/{package}: version {version}, but its CHANGELOG begins with {found}"
        for other, entry in facts["packages"].items():
            if package in entry["may_import"]:
                yield from check_bound(root, other, package, version)


def check_bound(root: Path, package: str, sibling: str, version: str) -> Iterator[str]:
    """uv ignores the bounds between members, so they are compared with the sibling's version here."""
    for line in read_toml(root / "packages" / package / "pyproject.toml")["project"]["dependencies"]:
        bound = re.fullmatch(rf"{sibling}>=(\d+)\.(\d+),<(\d+)\.(\d+)", line)
        if bound is not None:
            low, high = (int(bound[1]), int(bound[2])), (int(bound[3]), int(bound[4]))
            major, minor = (int(part) for part in version.split(".")[:2])
            if not low <= (major, minor) < high:
                yield f"packages/{package}: {line!r} shuts out the sibling's own version {version}"


def check_formats(root: Path, facts: dict[str, Any]) -> Iterator[str]:
    for name, entry in facts.get("formats", {}).items():
        for key in ("home", "spec"):
            if not (root / entry[key]).exists():
                yield f"formats.{name}: {key} {entry[key]} does not exist"
        home = root / entry["home"]
        if home.exists() and "constant" in entry:
            found = re.search(rf"\b{entry['constant']}\b[^=\n]*=\s*(\d+)", home.read_text(encoding="utf-8"))
            if found is None or int(found[1]) != entry["version"]:
                value = found[1] if found else "missing"
                yield f"formats.{name}: {entry['constant']} in {entry['home']} is {value}, workspace.toml says {entry['version']}"
        for version in range(1, entry["version"] + 1):
            if "golden" in entry and not (root / entry["golden"].format(version=version)).exists():
                yield f"formats.{name}: no golden file {entry['golden'].format(version=version)}"
        for reader in entry["readers"]:
            if reader not in facts["packages"]:
                yield f"formats.{name}: reader {reader} is no package"


def check_marks(root: Path, facts: dict[str, Any]) -> Iterator[str]:
    known = set(facts["marks"])
    for where in [root, *(root / "packages" / package for package in facts["packages"])]:
        options = read_toml(where / "pyproject.toml")["tool"]["pytest"]["ini_options"]
        marks = {line.split(":")[0] for line in options["markers"]}
        deselected = set(re.findall(r"not (\w+)", " ".join(options["addopts"])))
        if marks != known or deselected != known:
            yield f"{where.relative_to(root) / 'pyproject.toml'}: pytest marks differ from workspace.toml"


def check_test_helpers(files: list[Path]) -> Iterator[str]:
    """One pytest run imports the helper modules of all `tests/` folders by their bare names."""
    homes: dict[str, Path] = {}
    for path in files:
        if path.suffix != ".py" or path.parent.name != "tests" or path.name.startswith("test_"):
            continue
        if path.name != "conftest.py" and homes.setdefault(path.name, path) != path:
            yield f"{path.name}: both in {homes[path.name].parent} and in {path.parent}; rename one of them"


def check_tag(root: Path, facts: dict[str, Any], tag: str) -> Iterator[str]:
    pattern: str = facts["release"]["tag"]
    wanted = [pattern.format(package=name, version=package_version(root, name)) for name in facts["packages"]]
    if tag not in wanted:
        yield f"tag {tag}: the tags that fit the tree are {', '.join(wanted)}"


def problems(root: Path = ROOT) -> list[str]:
    facts = read_toml(root / "workspace.toml")
    files = tracked_files(root)
    return [
        *check_layout(root, facts, files),
        *check_arrows(root, facts, files),
        *check_versions(root, facts),
        *check_formats(root, facts),
        *check_marks(root, facts),
        *check_test_helpers(files),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", help="a release tag to check against the tree as well")
    tag = parser.parse_args().tag
    found = problems()
    if tag is not None:
        found += check_tag(ROOT, read_toml(ROOT / "workspace.toml"), tag)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print("the tree agrees with workspace.toml")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
