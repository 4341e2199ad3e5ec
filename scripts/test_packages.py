"""Tests each package as its users get it: a wheel, built through its sdist, in an environment of its own.

    python scripts/test_packages.py [PACKAGE ...] [--keep FOLDER] [--wheels FOLDER] [--import-only] [--jobs N] [--lowest] [--python PYTHON]

A workspace hides three faults: uv ignores version bounds between members, other members' dependencies leak into a
package's tests, and a file that the wheel lacks is still found in the checkout. So for each package this script
  1. builds sdist -> wheel and compares the wheel's files with the source tree,
  2. installs it with only what it declares (siblings as wheels too) and imports every module,
  3. adds the package's `test` dependency group and runs its own tests from a copy, far from the checkout.
`--lowest` installs the oldest version that each of its bounds allows, to prove the lower ones; `--python` takes another interpreter
(a version that uv finds, or a path); `--wheels` installs the wheels that an earlier --keep left, to try the same ones on many Pythons.
One package after another, in the order named, its tests on all cores (`--jobs`); meanwhile the next one is built and installed. What one printed comes when it is done.
Needs uv (and cargo for lm-tokenizer). Exit 0 when every package passed, else 1 with the failures named.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parent.parent
# Not the notebooks, which no wheel holds: the workspace's tests run them.
COPIED_FOR_TESTS = ("tests", "docs", "examples", "benchmarks", "README.md", "CHANGELOG.md", "pyproject.toml")

IMPORT_EVERY_MODULE = """
import importlib, pkgutil, sys
package, *optional = sys.argv[1:]
module = importlib.import_module(package)
for found in pkgutil.walk_packages(module.__path__, package + "."):
    if found.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(found.name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in optional:
            raise SystemExit(f"{found.name} imports {error.name!r}, which {package} does not declare")
"""


class PackageFailure(Exception):
    """One package did not pass; the text says at which step."""


def read_toml(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.load(file)


def run(step: str, command: Sequence[str | Path], log: TextIO, **options: Any) -> None:
    print(f"  {step}", file=log, flush=True)
    done = subprocess.run(
        [str(part) for part in command], check=False, stdout=log, stderr=subprocess.STDOUT, **options
    )
    if done.returncode != 0:
        raise PackageFailure(f"{step}: exit {done.returncode}")


def exclude_newer() -> list[str]:
    """The workspace's pin, so that the isolated environments hold the versions that were developed against."""
    return ["--exclude-newer", read_toml(ROOT / "pyproject.toml")["tool"]["uv"]["exclude-newer"]]


def siblings_of(package: str) -> list[str]:
    return list(read_toml(ROOT / "workspace.toml")["packages"][package]["may_import"])


def build(package: str, wheels: Path, log: TextIO, *, anew: bool = True) -> Path:
    """sdist, then the wheel from that sdist (uv's default order); or the wheel that lies there already."""
    out = wheels / package
    if anew or not out.exists():
        run(
            f"build {package}",
            ["uv", "build", "--quiet", "--out-dir", out, *exclude_newer(), ROOT / "packages" / package],
            log,
        )
    (wheel,) = out.glob("*.whl")
    return wheel


def check_contents(package: str, wheel: Path) -> None:
    module = package.replace("-", "_")
    source = ROOT / "packages" / package / "src"
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(f"{module}/")}
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / module).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".so", ".pyd", ".pyc"}
    }
    if missing := sorted(wanted - inside):
        raise PackageFailure(f"the wheel lacks {', '.join(missing)}")
    if foreign := sorted(name for name in inside - wanted if "_rust." not in name):
        raise PackageFailure(f"the wheel holds files that the source does not: {', '.join(foreign)}")


def install(
    package: str, built: dict[str, Path], folder: Path, log: TextIO, *, python: str, lowest: bool = False
) -> list[str | Path]:
    """A fresh environment with what the package declares, each module imported once; the command that installs more into it."""
    project = read_toml(ROOT / "packages" / package / "pyproject.toml")
    environment = folder / f"{package}-env"
    command: list[str | Path] = ["uv", "pip", "install", "--quiet", "--python", python_of(environment)]
    command += exclude_newer()
    if lowest:  # of what is named: a wheel's own requirements have to be named beside it
        needs = [line for line in project["project"].get("dependencies", []) if not line.startswith("lm-")]
        command += ["--resolution", "lowest-direct", *needs]
    command += [built[package], *(built[name] for name in siblings_of(package))]
    run(
        "fresh environment",
        ["uv", "venv", "--quiet", "--clear", "--python", python, environment],
        log,
        cwd=folder,
    )
    run("install what it declares", command, log, cwd=folder)
    # An import that only an extra provides may fail here; one that nothing declares may not.
    extras = project["project"].get("optional-dependencies", {}).values()
    optional = [
        line.split(">")[0].split("[")[0].split("=")[0].strip().replace("-", "_")
        for extra in extras
        for line in extra
    ]
    run(
        "import every module",
        [python_of(environment), "-c", IMPORT_EVERY_MODULE, package.replace("-", "_"), *optional],
        log,
        cwd=folder,
    )
    return command


def test(package: str, command: list[str | Path], folder: Path, log: TextIO, *, jobs: str) -> None:
    """Its own tests, from a copy. What it declares is named again, so that its bounds are kept as they were installed."""
    project = read_toml(ROOT / "packages" / package / "pyproject.toml")
    run("install its test group", [*command, *project["dependency-groups"]["test"]], log, cwd=folder)
    copy = folder / f"{package}-copy"
    if copy.exists():  # of an earlier run with the same --keep
        shutil.rmtree(copy)
    copy.mkdir()
    for name in COPIED_FOR_TESTS:
        path = ROOT / "packages" / package / name
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(path, copy / name)
    outside = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    run(
        "its tests, from a copy",
        [
            python_of(folder / f"{package}-env"),
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-n",
            jobs,
            "--dist=worksteal",
        ],
        log,
        cwd=copy,
        env={"OMP_NUM_THREADS": "1", **outside},
    )


def python_of(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin") / "python"


def main() -> int:
    packages = list(read_toml(ROOT / "workspace.toml")["packages"])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"default: {' '.join(packages)}")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="build in FOLDER and leave it, for a closer look"
    )
    parser.add_argument(
        "--import-only", action="store_true", help="stop after the imports: install and bounds, no tests"
    )
    parser.add_argument(
        "--lowest", action="store_true", help="install the oldest versions that each package's bounds allow"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter to test on (default: this one)"
    )
    parser.add_argument(
        "--wheels", type=Path, metavar="FOLDER", help="install what an earlier --keep built: FOLDER/wheels"
    )
    parser.add_argument(
        "--jobs", default="auto", metavar="N", help="processes for a package's tests (default: one a core)"
    )
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.packages) - set(packages)):
        parser.error(f"no package named {', '.join(unknown)}; there are {', '.join(packages)}")
    if shutil.which("uv") is None:
        parser.error("uv is needed to build and install the packages; it is not on the PATH")
    wanted = arguments.packages or packages
    with tempfile.TemporaryDirectory(prefix="lm-packages-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        wheels, anew = arguments.wheels or folder / "wheels", arguments.wheels is None
        built: dict[str, Path] = {}

        def environment(package: str) -> list[str | Path]:
            with (folder / f"{package}.log").open("w", encoding="utf-8") as log:
                for name in (package, *siblings_of(package)):
                    if name not in built:
                        built[name] = build(name, wheels, log, anew=anew)
                check_contents(package, built[package])
                return install(package, built, folder, log, python=arguments.python, lowest=arguments.lowest)

        outcomes = {}
        with ThreadPoolExecutor(1) as behind:
            environments = {package: behind.submit(environment, package) for package in wanted}
            for package, made in environments.items():
                path = folder / f"{package}.log"
                try:
                    command = made.result()
                    if not arguments.import_only:
                        with path.open("a", encoding="utf-8") as log:
                            test(package, command, folder, log, jobs=arguments.jobs)
                    outcomes[package] = "passed"
                except PackageFailure as failure:
                    outcomes[package] = str(failure)
                print(f"{package}\n{path.read_text(encoding='utf-8', errors='replace')}", flush=True)
    for package, how in outcomes.items():
        print(f"{package}: {how}")
    return 0 if set(outcomes.values()) == {"passed"} else 1


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except PackageFailure as failure:
        raise SystemExit(str(failure)) from None
