"""Sphinx's settings for the pages; build.py calls it."""

from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "From raw text to a language model that writes"
copyright = "the authors; MIT licence"
root_doc = "README"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["**/tests/**", "**/benchmarks/records/**"]  # a record is shown by its docs/benchmarks.md
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header"
]  # the READMEs of packages begin a page, and a page of the course has one title
html_theme = "furo"
html_title = "lm"
html_copy_source = False
html_static_path = [str(Path(__file__).parent / "pages.css")]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"  # the browser's own: no script, no font, no network
pygments_style = "friendly"
pygments_dark_style = "native"


def math(self: HTML5Translator, node: nodes.Element) -> None:
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    self.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (math, None), (math, None))
