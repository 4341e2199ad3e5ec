"""The page at /: one HTML file, made of three that are easier to read; it asks for nothing but this server's answers."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

SCRIPTS = ("api.js", "column.js", "details.js", "surprise.js", "main.js")


@cache
def page() -> str:
    """index.html with its style and its scripts inside."""
    folder = files("lm_generate.serving") / "page"
    style = (folder / "style.css").read_text(encoding="utf-8")
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    html = (folder / "index.html").read_text(encoding="utf-8")
    return html.replace("/* style */", style).replace("/* script */", script)


@cache
def page_headers() -> dict[str, str]:
    """Nothing runs and nothing loads but what is inside the page, whatever text a model writes."""
    parts = {}
    for tag in ("style", "script"):
        found = re.search(rf"<{tag}>(.*)</{tag}>", page(), re.DOTALL)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found[1].encode("utf-8")).digest()).decode("ascii")
        parts[tag] = f"'sha256-{digest}'"
    policy = (
        f"default-src 'none'; style-src {parts['style']}; script-src {parts['script']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "content-security-policy": policy,
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
