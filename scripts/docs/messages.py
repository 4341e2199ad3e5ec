"""Every message that a user's mistake can bring, read from the packages' source: the page `messages` of the documentation.

    python scripts/docs/messages.py          # prints the page

A message is what one of the packages' own exceptions (below BASES) is made with, and each text of the Rust core's `Error`; what is only known
when it happens is printed as {...}. Nothing is imported, so no message is missed for want of an extra, and the table cannot rot: it is made
of the source. The words after the last "; " are the cure and have a column of their own, the type's docstring is the kind of cause.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("lm-tokenizer", "lm-core", "lm-train", "lm-generate")
BASES = ("TokenizerError", "LmCoreError", "LmTrainError", "LmGenerateError")
# lm-generate's server: what makes an answer, and which argument is its text (before it stands a status of HTTP).
ANSWERS = {"Problem": 1, "bad_request": 0}
RUST_ERRORS = Path("rust/lm-bpe/src/error.rs")
# A message does its work when it says what to do, or what would have been right.
SAYS_WHAT_TO_DO = re.compile(
    r"\b(must|needs?|wanted|give|name|names|leave|use|take|try|install|restore|choose|make|put|keep|convert|at most|at least|only|write"
    r"|run it again|fetch it|is for|are for|start|set|rename|remove|unwrap|let|shorten|ask|call|copy|pipe|see|replace|prepare|count anew"
    r"|exactly|did you mean|is wanted|continue from|known are|there are|free some|say how many|train on|lower|embed|always can|nothing to|were given"
    r"|fetch them|mend|JSON (holds|keys)|\bis a number|cannot (hold|be cut)|are (written|saved|kept|read|understood)|reads up to|above 0|between|below|takes|train from|it has|updates parameters)\b|\(0\.\.|_ADVICE|hint|_known_runs|measured from",
    re.I,
)

# The beginning of a cure where no "; " stands before it.
CURE = re.compile(
    r": (?=(?:ask|copy|embed|give|install|leave|name|pip install|put|remove|rename|restore|save|shorten|train|try|type|use|write)\b)"
)


@dataclass(frozen=True)
class ErrorType:
    """An exception class: its package, name, bases and docstring."""

    package: str
    name: str
    bases: tuple[str, ...]
    doc: str | None


@dataclass(frozen=True)
class Message:
    """One raise statement: the type that it raises, its text, and where it stands."""

    package: str
    type: str
    text: str
    path: Path
    line: int


def sources() -> Iterator[tuple[str, Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / "packages" / package / "src").rglob("*.py")):
            yield package, path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def error_types() -> dict[str, ErrorType]:
    """Every class below one of BASES, wherever it is defined."""
    classes: dict[str, ErrorType] = {}
    for package, _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases = tuple(name_of(base) for base in node.bases)
                classes[node.name] = ErrorType(package, node.name, bases, ast.get_docstring(node))
    known = set(BASES)
    while more := {name for name, each in classes.items() if known & set(each.bases)} - known:
        known |= more
    return {name: each for name, each in classes.items() if name in known}


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def messages() -> list[Message]:
    """Every construction of one of those types with a text."""
    known = error_types()
    found = []
    for package, path, tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            type = name_of(node.func)
            if type in known or type in ANSWERS:
                text = template(node.args[ANSWERS.get(type, 0)])
                type = "Problem" if type in ANSWERS else type
                found.append(Message(package, type, text, path.relative_to(ROOT), node.lineno))
    return found


def rust_messages() -> list[str]:
    """The texts of the Rust core's errors, as they stand in their `Display`."""
    source = (ROOT / RUST_ERRORS).read_text(encoding="utf-8")
    shown = source[source.index("impl fmt::Display") :]
    texts = re.findall(r'write!\(\s*f,\s*"((?:[^"\\\\]|\\\\.)*)"', shown)
    return [text.replace("{bytes:?}", "{bytes}") for text in texts]


def template(node: ast.expr) -> str:
    """The text of a message, with {...} for what is only known when it is raised."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + ast.unparse(node.value) + "}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    if isinstance(node, ast.IfExp):
        return f"{template(node.body)} | {template(node.orelse)}"
    return "{" + ast.unparse(node) + "}"


def cell(text: str) -> str:
    return re.sub(r"([|<>*_`\[\]])", r"\\\1", " ".join(text.split()))


def halves(text: str) -> tuple[str, str]:
    """What happened, and what to do: the words after the last "; " or before it ": give ...", or none where the first part says both."""
    happened, _, cure = text.rpartition("; ")
    if not happened and (found := CURE.search(text)):
        happened, cure = text[: found.start()], text[found.end() :]
    whole = not happened or happened.count("{") != happened.count("}")
    return (text, "") if whole else (happened, cure)


def page() -> str:
    """The page: a table a package, by the kind of mistake."""
    types, told = error_types(), messages()
    lines = [
        "# Every message",
        "",
        "What a mistake brings, word for word, with {...} for what is known only then: what was wanted, what came, and what to do (after a semicolon or a colon). "
        "On the command line a mistake of the user's ends with exit code 2 and one of these lines, a fault of ours with 1 and a traceback; "
        "in Python each is an exception of the type above its table. Made from the source by `scripts/docs/messages.py`.",
    ]
    for package in PACKAGES:
        lines += ["", f"## {package}"]
        for name in sorted({each.type for each in told if each.package == package}):
            rows = sorted(
                {(each.text, each.path.name) for each in told if (each.package, each.type) == (package, name)}
            )
            doc = (types[name].doc or "").split("\n\n")[0]
            lines += [
                "",
                f"### {name}",
                "",
                cell(doc),
                "",
                "| message | what to do | raised in |",
                "|---|---|---|",
            ]
            lines += [f"| {' | '.join(map(cell, (*halves(text), path)))} |" for text, path in rows]
        if package == "lm-tokenizer":
            lines += ["", "### From the Rust core", "", "| message | what to do |", "|---|---|"]
            lines += [f"| {' | '.join(map(cell, halves(text)))} |" for text in rust_messages()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(page())
