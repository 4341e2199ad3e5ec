"""Builds the documentation as one folder that reads offline: `uv run --group docs python scripts/docs/build.py site`.

The pages are the READMEs and docs/ as they lie in the tree (Sphinx), the reference is the packages' docstrings (pdoc). A link that leads
nowhere, an unknown reference, a page that nothing leads to: an error, and exit code 1.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = ("lm_tokenizer", "lm_core", "lm_train", "lm_generate")
API = "api"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "out", type=Path, help="the folder to write; one that exists is replaced if this made it"
    )
    out = parser.parse_args().out.resolve()
    if out.exists() and not (out / API).is_dir():
        parser.error(f"{out} exists and is no documentation made here; name another folder")
    with tempfile.TemporaryDirectory() as aside:
        source, site = Path(aside, "source"), Path(aside, "site")
        copy_tree(source)
        name_readmes(source)
        add_contents(source)
        pages = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "auto"]
        pages += [
            "-c",
            str(Path(__file__).parent),
            "-d",
            str(Path(aside, "doctrees")),
            str(source),
            str(site),
        ]
        reference = [sys.executable, "-m", "pdoc", "--docformat", "markdown", "-o", str(site / API), *MODULES]
        for command in (pages, reference):
            if code := subprocess.run(
                command, cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "ignore"}
            ).returncode:
                return code
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(site, out)
    print(f"open {out / 'README.html'}")
    return 0


def copy_tree(source: Path) -> None:
    """The tracked files, so that each relative link finds what it names."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)


def add_contents(source: Path) -> None:
    """The contents beside every page: the course, then each package with its pages, then the reference."""
    course = sorted(source.glob("packages/*/docs/course-*.md"), key=lambda path: path.name)
    parts = {"The course": course}
    for package in ("lm-tokenizer", "lm-core", "lm-train", "lm-generate"):
        folder = source / "packages" / package
        docs = sorted(path for path in folder.glob("docs/**/*.md") if path not in course)
        parts[package] = [folder / "README.md", *docs, folder / "CHANGELOG.md"]
    parts["How it is tested"] = [source / "tests/faults.md", source / "rust/fuzz/README.md"]
    parts["Reference"] = [source / "rust/lm-bpe/README.md", add_reference(source / "reference.md")]
    lines = []
    for caption, pages in parts.items():
        lines += ["", "```{toctree}", ":hidden:", f":caption: {caption}", ""]
        lines += [page.relative_to(source).as_posix().removesuffix(".md") for page in pages] + ["```"]
    with (source / "README.md").open("a", encoding="utf-8") as file:
        file.write("\n".join([*lines, ""]))


def add_reference(page: Path) -> Path:
    """The page that leads to what pdoc makes of the docstrings."""
    links = "\n".join(
        f'<li><a href="{API}/{module}.html"><code>{module}</code></a></li>' for module in MODULES
    )
    page.write_text(
        f"# Every public name\n\nFrom the docstrings, each page with a search of its own:\n\n<ul>\n{links}\n</ul>\n"
    )
    return page


def name_readmes(source: Path) -> None:
    """A link to a folder shows its README where the tree is browsed; a site needs the file's name."""
    for page in source.rglob("*.md"):

        def whole(link: re.Match[str], here: Path = page.parent) -> str:
            readme = here / link[1] / "README.md"
            return (
                f"]({link[1].rstrip('/')}/README.md)"
                if "://" not in link[1] and readme.is_file()
                else link[0]
            )

        page.write_text(re.sub(r"\]\(([^)#]+)\)", whole, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
