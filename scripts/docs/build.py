"""Builds the documentation as one folder that reads offline: `uv run --group docs python scripts/docs/build.py site`.

The pages are the READMEs and docs/ as they lie in the tree (Sphinx), the notebooks (jupytext), and the packages' docstrings (pdoc). A link that leads
nowhere, an unknown reference, a page that nothing leads to: an error, and exit code 1.
"""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types
import warnings
from pathlib import Path

import jupytext
import messages
import pdoc

ROOT = Path(__file__).resolve().parent.parent.parent
MODULES = ("lm_tokenizer", "lm_core", "lm_core.optim", "lm_core.schedule", "lm_train", "lm_generate")
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
        add_notebooks(source)
        name_pages(source)
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
        if code := subprocess.run(pages, cwd=ROOT, env={**os.environ, "PYTHONWARNINGS": "ignore"}).returncode:
            return code
        write_reference(site / API)
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
    parts["Notebooks"] = sorted(source.glob("packages/*/notebooks/*.md"))
    parts["Taking part"] = [source / ".github/CONTRIBUTING.md", source / ".github/SECURITY.md"]
    parts["How it is tested"] = [source / "tests/faults.md", source / "rust/fuzz/README.md"]
    told = source / "messages.md"
    told.write_text(messages.page(), encoding="utf-8")
    parts["Reference"] = [source / "rust/lm-bpe/README.md", add_reference(source / "reference.md"), told]
    lines = []
    for caption, pages in parts.items():
        lines += ["", "```{toctree}", ":hidden:", f":caption: {caption}", ""]
        lines += [page.relative_to(source).as_posix().removesuffix(".md") for page in pages] + ["```"]
    with (source / "README.md").open("a", encoding="utf-8") as file:
        file.write("\n".join([*lines, ""]))


def add_reference(page: Path) -> Path:
    """The page that leads to what pdoc makes of the docstrings."""
    links = "\n".join(
        f'<li><a href="{API}/{module.replace(".", "/")}.html"><code>{module}</code></a></li>'
        for module in MODULES
    )
    page.write_text(
        f"# Every public name\n\nFrom the docstrings, each page with a search of its own:\n\n<ul>\n{links}\n</ul>\n"
    )
    return page


def write_reference(folder: Path) -> None:
    """A page for each package, of the docstrings of its public names; every one of them is there."""
    pdoc.render.configure(docformat="markdown")
    for name in MODULES:
        module = importlib.import_module(name)
        for (
            public
        ) in module.__all__:  # pdoc reads a module's dictionary; ours fill it when a name is first used
            setattr(module, public, getattr(module, public))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pdoc.pdoc(*MODULES, output_directory=folder)
    for name in MODULES:
        page = (folder / f"{name.replace('.', '/')}.html").read_text(encoding="utf-8")
        sections = dict(re.findall(r'<section id="(\w+)">(.*?)</section>', page, re.DOTALL))
        module = importlib.import_module(name)
        if bare := [
            public
            for public in module.__all__
            if isinstance(getattr(module, public), type | types.FunctionType)
            and 'class="docstring"' not in sections.get(public, "")
        ]:
            raise SystemExit(f"the reference of {name} says nothing of {', '.join(bare)}")


def add_notebooks(source: Path) -> None:
    """Each notebook (a .py file in cells) as a page of the same name, and as an .ipynb that the page offers."""
    for path in sorted(source.glob("packages/*/notebooks/*.py")):
        notebook = jupytext.read(path)
        cells = [
            cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```"
            for cell in notebook.cells
        ]
        jupytext.write(notebook, path.with_suffix(".ipynb"))
        offer = f"*To run it: [{path.stem}.ipynb]({path.stem}.ipynb), or the [plain file]({path.name}).*"
        title, *rest = cells[0].split("\n", 1)
        path.with_suffix(".md").write_text(
            "\n\n".join([title, offer, *rest, *cells[1:]]) + "\n", encoding="utf-8"
        )


def name_pages(source: Path) -> None:
    """A link to a folder shows its README, and one to a notebook its source, where the tree is browsed; here both have a page."""
    for page in source.rglob("*.md"):

        def whole(link: re.Match[str], here: Path = page.parent) -> str:
            target = here / link[1]
            if "://" not in link[1] and (target / "README.md").is_file():
                return f"]({link[1].rstrip('/')}/README.md)"
            if target.suffix == ".py" and target.parent.name == "notebooks" and target.parent != here:
                return f"]({link[1].removesuffix('.py')}.md)"
            return link[0]

        page.write_text(re.sub(r"\]\(([^)#]+)\)", whole, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
