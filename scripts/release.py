"""Checks that a package can be released, and says what releasing it would do. Nothing is published from here.

    python scripts/release.py PACKAGE [--out FOLDER] [--import-only]      # all checks; changes nothing
    python scripts/release.py PACKAGE --rehearse                          # also of a tree that is not ready: says why, and goes on
    python scripts/release.py PACKAGE --push-tag                          # then makes the tag and pushes it

  1. refusals: a tree with changes, a version without its dated heading in the CHANGELOG, a tag of another commit, a bound that
     shuts a sibling out;
  2. sdist and wheel, built as users get them, their files compared with the tree, their metadata checked (twine);
  3. the wheel, which was built from the sdist, installed into a fresh environment with only what it declares;
  4. the licence of every distribution that came with it, against PERMISSIVE below; a bill of materials (CycloneDX);
  5. the package's own tests against the wheel.
Publishing is the pushed tag's work: .github/workflows/release.yml builds every platform's wheels and uploads them by trusted
publishing, so no machine holds a password. Needs uv; `uv run --only-group release python scripts/release.py lm-core` brings twine and
cyclonedx-bom. Exit 0 when it can be released, else 1 with each reason.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import test_packages
from check_workspace import check_versions, package_version, read_toml

ROOT = test_packages.ROOT

# SPDX names and the classifiers' words for them. What is not here is looked at by a person, and then added or dropped.
PERMISSIVE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU",
    "PSF-2.0", "Python-2.0", "Unlicense", "Zlib", "bzip2-1.0.6",
    "Apache 2.0", "Apache License 2.0", "Apache License, Version 2.0", "Apache Software License", "Apache", "BSD License", "BSD 3-Clause",
    "BSD-3-Clause License", "MIT License", "ISC License (ISCL)", "Python Software Foundation License", "The Unlicense (Unlicense)",
    "Zope Public License", "PSF", "3-Clause BSD License", "Modified BSD License",
}  # fmt: skip
# Weak copyleft is used as it is, unchanged and as a library of its own: nothing of ours becomes part of it.
TOLERATED = {"MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "GPL-3.0-or-later WITH GCC-exception-3.1"}
# torch's wheels for Linux ask for NVIDIA's libraries: free to use, not open. They are torch's dependency, and no file of them is ours.
PROPRIETARY_OF_TORCH = ("nvidia-", "cuda-")

INSTALLED_LICENCES = """
import json
from importlib.metadata import distributions
print(json.dumps({
    each.metadata["Name"]: [
        each.metadata.get("License-Expression"),
        [line.split(" :: ")[-1] for line in each.metadata.get_all("Classifier") or [] if line.startswith("License :: ")],
        each.metadata.get("License"),
    ]
    for each in distributions()
}))
"""


def refusals(root: Path, facts: dict[str, Any], package: str) -> Iterator[str]:
    """Why the tree as it stands must not be released, a line each; O(files of the repository)."""
    if package not in facts["packages"]:
        yield f"no package named {package}; there are {', '.join(facts['packages'])}"
        return
    changed = git(root, "status", "--porcelain").splitlines()
    if changed:
        yield f"the tree has changes that no commit has ({changed[0].strip()}, {len(changed)} in all); commit or stash them"
    yield from check_versions(root, facts)
    version = package_version(root, package)
    path = root / "packages" / package / facts["release"]["changelog"]
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if not re.search(rf"^## \[?{re.escape(version)}\]? \(\d{{4}}-\d\d-\d\d\)", text, re.MULTILINE):
        waits = re.search(rf"^## \[?{re.escape(version)}\]? \(unreleased\)", text, re.MULTILINE)
        yield f"packages/{package}/{path.name}: wanted a heading with a date, ## {version} (YYYY-MM-DD); " + (
            'write the day of the release in the place of "unreleased"'
            if waits
            else "write it, and above it nothing of later versions"
        )
    tag = tag_of(root, facts, package)
    if tagged(root, tag) and git(root, "rev-parse", f"{tag}^{{commit}}") != git(root, "rev-parse", "HEAD"):
        yield f"the tag {tag} is another commit's; a released version never changes, so raise the version"


def tag_of(root: Path, facts: dict[str, Any], package: str) -> str:
    pattern: str = facts["release"]["tag"]
    return pattern.format(package=package, version=package_version(root, package))


def tagged(root: Path, tag: str) -> bool:
    return bool(git(root, "tag", "--list", tag).strip())


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise test_packages.PackageFailure(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def unknown_licences(installed: dict[str, list[Any]]) -> Iterator[str]:
    """Each distribution whose licence is not one that we take, by name and with what it says of itself."""
    for name, (expression, classifiers, text) in sorted(installed.items()):
        if name.lower().startswith(PROPRIETARY_OF_TORCH):
            continue
        if expression:  # SPDX: of a choice one is enough, of a sum every part
            parts = [
                any(one.strip(" ()") in PERMISSIVE | TOLERATED for one in part.split(" OR "))
                for part in re.split(r" AND ", expression)
            ]
            known = all(parts)
        else:
            said = classifiers or [(text or "").strip().split("\n")[0]]
            known = any(each in PERMISSIVE | TOLERATED for each in said)
        if not known:
            yield f"{name}: {expression or ', '.join(classifiers) or (text or 'says nothing').strip()[:60]}"


def check_artefacts(package: str, folder: Path, out: Path, *, import_only: bool) -> None:
    """Steps 2 to 5, one line each; PackageFailure at the first that fails."""
    log = sys.stdout
    needed = [package, *test_packages.siblings_of(package)]
    built = {name: test_packages.build(name, folder / "wheels", log) for name in needed}
    test_packages.check_contents(package, built[package])
    (sdist,) = (folder / "wheels" / package).glob("*.tar.gz")
    test_packages.run(
        "metadata", [sys.executable, "-m", "twine", "check", "--strict", sdist, built[package]], log
    )
    command = test_packages.install(package, built, folder, log, python=sys.executable)
    python = test_packages.python_of(folder / f"{package}-env")
    listed = subprocess.run([python, "-c", INSTALLED_LICENCES], capture_output=True, text=True, check=True)
    if unknown := list(unknown_licences(json.loads(listed.stdout))):
        raise test_packages.PackageFailure(
            "licences that nobody has looked at (scripts/release.py, PERMISSIVE): " + "; ".join(unknown)
        )
    bill = folder / f"{built[package].name.split('-py3')[0].split('-cp')[0]}.cdx.json"
    test_packages.run(
        "bill of materials",
        [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "-o", bill, python],
        log,
    )
    if not import_only:
        test_packages.test(package, command, folder, log, jobs="auto")
    out.mkdir(parents=True, exist_ok=True)
    for path in (sdist, built[package], bill):
        (out / path.name).write_bytes(path.read_bytes())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", metavar="PACKAGE")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "dist", help="folder for the files (default: dist)"
    )
    parser.add_argument("--import-only", action="store_true", help="leave out the package's tests")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--rehearse", action="store_true", help="check everything else too where the tree is not ready"
    )
    how.add_argument(
        "--push-tag", action="store_true", help="make the tag and push it, which starts the release"
    )
    arguments = parser.parse_args()
    facts = read_toml(ROOT / "workspace.toml")
    if reasons := list(refusals(ROOT, facts, arguments.package)):
        print("\n".join(reasons), file=sys.stderr)
        if not arguments.rehearse or arguments.package not in facts["packages"]:
            return 1
    with tempfile.TemporaryDirectory(prefix="lm-release-") as folder:
        check_artefacts(arguments.package, Path(folder), arguments.out, import_only=arguments.import_only)
    tag = tag_of(ROOT, facts, arguments.package)
    steps = [["tag", "--annotate", tag, "--message", tag], ["push", "origin", tag]]
    if tagged(ROOT, tag):
        steps = steps[1:]
    if reasons:
        print(
            f"{arguments.package}: its files are right, and lie in {arguments.out}; {len(reasons)} reasons (above) stand against a release"
        )
        return 1
    print(f"{arguments.package} can be released; its files are in {arguments.out}")
    for step in steps:
        if arguments.push_tag:
            git(ROOT, *step)
        print(("done: " if arguments.push_tag else "would do: ") + "git " + " ".join(step))
    print(f"the pushed tag starts .github/workflows/release.yml, which uploads to the index as {tag}")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except test_packages.PackageFailure as failure:
        raise SystemExit(str(failure)) from None
