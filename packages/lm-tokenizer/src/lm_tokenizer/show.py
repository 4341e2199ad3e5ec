"""Tokens of a text as a person reads them: coloured on a terminal, with ids, one after another."""

from __future__ import annotations

import html
from collections.abc import Iterable

_COLOURS = (153, 194, 223, 225, 230)  # pale, so that black text is read on them whatever the terminal's theme
_VISIBLE = {" ": "·", "\n": "⏎", "\t": "→", "\r": "␍"}


def token_text(token: bytes) -> str:
    """A token on one line: white space made visible, bytes that are no UTF-8 as hexadecimal."""
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return "<" + token.hex(" ") + ">"
    return "".join(_VISIBLE.get(c) or (c if c.isprintable() else f"\\u{ord(c):04x}") for c in text)


def as_running_text(tokens: Iterable[bytes], *, colour: bool) -> str:
    """The tokens in a row, each on a ground of its own, or divided by `|`. Lines end where the text's do."""
    pieces: list[str] = []
    for place, token in enumerate(tokens):
        text = token_text(token)
        if colour:
            piece = f"\x1b[30;48;5;{_COLOURS[place % len(_COLOURS)]}m{text}\x1b[0m"
        else:
            piece = text if not pieces or pieces[-1].endswith("\n") else "|" + text
        pieces.append(piece + ("\n" if token.endswith(b"\n") else ""))
    return "".join(pieces)


def as_table(tokens: Iterable[tuple[int, bytes]], *, colour: bool) -> str:
    """One token a line: id, token."""
    return "\n".join(f"{id:>7}  {as_running_text([token], colour=colour).rstrip()}" for id, token in tokens)


def as_html(tokens: Iterable[tuple[int, bytes]]) -> str:
    """A page of its own: the tokens in a row, each on a ground of its own; the pointer on one shows its id and bytes."""
    pieces = [_PAGE]
    for place, (id, token) in enumerate(tokens):
        title = html.escape(f"{id}: {token!r}")
        text = html.escape(token_text(token))
        pieces.append(f'<span class="t{place % len(_COLOURS)}" title="{title}">{text}</span>')
        pieces.append("<br>\n" if token.endswith(b"\n") else "<wbr>")
    return "".join(pieces) + "\n"


_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>tokens</title>
<style>
body { font: 1rem/1.7 ui-monospace, monospace; margin: 2rem; color: #111; background: #fff }
.t0 { background: #cfe3ff } .t1 { background: #d0f5d0 } .t2 { background: #ffe3c2 }
.t3 { background: #f3d7f7 } .t4 { background: #fff3a8 }
</style>
"""
