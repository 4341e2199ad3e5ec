"""What the command line shows: the text as it comes, and one line of figures behind it."""

import json as json_format
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_core.counts import parameter_count

from lm_generate.engine import Engine
from lm_generate.explain import Explanation
from lm_generate.kernel.bandwidth import bytes_per_token, memory_bandwidth
from lm_generate.results import BeamText, Generation, Score
from lm_generate.stream import TextStream
from lm_generate.verify import Verified

if TYPE_CHECKING:
    from lm_generate.against import Compared

NARROWEST_COLUMN = 24
LONG_ENOUGH = 16
"""Tokens from which a speed means something."""
BEYOND_CACHES = 64 * 2**20
"""Bytes of weights that no usual cache holds."""


def show_model(engine: Engine, *, newest: bool) -> None:
    """The line that says which model writes."""
    parameters = parameter_count(engine.config)
    why = "newest run; " if newest else ""
    what = f"{parameters / 1e6:.1f} M parameters, {str(engine.dtype).removeprefix('torch.')}, {engine.device}"
    print(f"model: {engine.folder} ({why}{what})", file=sys.stderr)


def show_text(stream: TextStream, *, prompt: str, echo: bool) -> Generation:
    """Prints a continuation piece by piece."""
    terminal = sys.stdout.isatty()
    if echo:
        _put(prompt, terminal)
    last = prompt if echo else ""
    for piece in stream:
        _put(piece, terminal)
        last = piece
    if not last.endswith("\n"):
        _put("\n", terminal)
    return stream.finish()


def show_rows(rows: Sequence[Generation], *, prompt: str, echo: bool) -> None:
    """Prints finished samples: in columns where a terminal has room for them, one below the other elsewhere."""
    texts = [(prompt if echo else "") + row.text for row in rows]
    width = shutil.get_terminal_size().columns // len(rows)
    if sys.stdout.isatty() and width >= NARROWEST_COLUMN:
        from rich.console import Console
        from rich.table import Column, Table
        from rich.text import Text

        columns = (Column(f"row {row.row}", overflow="fold") for row in rows)  # a long word goes on below
        table = Table(*columns, expand=True)
        table.add_row(*(Text(visible(text)) for text in texts))
        Console(file=sys.stdout).print(table)
        return
    for number, text in enumerate(texts, start=1):
        print(f"--- {number} of {len(texts)} ---")
        _put(text.removesuffix("\n") + "\n", sys.stdout.isatty())


def show_beams(
    found: Sequence[BeamText], beams: int, *, prompt: str, echo: bool, json: bool, quiet: bool
) -> None:
    """Prints the texts of a beam search, best first, and a line of figures on standard error."""
    if json:
        for text in found:
            worth = {"logprob": text.logprob, "score": text.score}
            show_json(text.result, prompt=prompt, echo=echo, more=worth)
    elif len(found) > 1:
        show_rows([text.result for text in found], prompt=prompt, echo=echo)
    else:
        _put((prompt if echo else "") + found[0].result.text.removesuffix("\n") + "\n", sys.stdout.isatty())
    if not quiet:
        worths = ", ".join(f"{text.score:.3f}" for text in found)
        seconds = found[0].result.timings.total
        print(f"[{beams} beams, {seconds:.2f} s; worth {worths}]", file=sys.stderr)


def show_json(
    result: Generation, *, prompt: str, echo: bool, more: Mapping[str, float] | None = None
) -> None:
    """Prints one JSON object on one line."""
    record: dict[str, Any] = {"prompt": prompt} if echo else {}
    record |= {**asdict(result), **(more or {})}
    print(json_format.dumps(record, ensure_ascii=False), flush=True)


def show_explained(told: Explanation, *, prompt: str, echo: bool, json: bool) -> None:
    """The text coloured by probability, then a line a token: its probability before and after sampling, its rivals."""
    if json:
        record = {
            "prompt": prompt,
            **asdict(told.result),
            "explained": [asdict(entry) for entry in told.tokens],
        }
        print(json_format.dumps(record, ensure_ascii=False), flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, soft_wrap=True, highlight=False)
    coloured = Text()
    if echo:
        coloured.append(visible(told.read), style="dim")
    for entry in told.tokens:
        coloured.append(visible(entry.chosen.text), style=colour(entry.chosen.before))
    console.print(coloured)
    console.print(
        f"{'before':>7} {'after':>7} {'rank':>5} {'bits':>5}  token; the likeliest before, and what took them out"
    )
    for entry in told.tokens:
        chosen = entry.chosen
        line = Text(f"{chosen.before:7.1%} {chosen.after:7.1%} {entry.rank:5} {entry.entropy_bits:5.1f}  ")
        line.append(quoted(chosen.text), style=colour(chosen.before))
        for other in entry.alternatives:
            out = f" {other.removed_by}" if other.removed_by else ""
            line.append(f"  {quoted(other.text)} {other.before:.1%}{out}", style="dim")
        console.print(line)


def colour(probability: float) -> str:
    """Red below 1 %, then yellow, plain, and green from 50 % on."""
    return (
        "red"
        if probability < 0.01
        else "yellow"
        if probability < 0.1
        else ""
        if probability < 0.5
        else "green"
    )


def quoted(text: str) -> str:
    return json_format.dumps(text, ensure_ascii=False)


def show_figures(results: Sequence[Generation], engine: Engine) -> None:
    """A line of figures for one text on standard error; for several, one for all of them."""
    if len(results) > 1:
        print(total_figures(results), file=sys.stderr)
        return
    print(figures(results[0], share(results[0], engine)), file=sys.stderr)


def figures(result: Generation, share: str = "") -> str:
    """`[42 tokens, 266 tokens/s, 61% of the memory's speed, first after 31 ms; end of text; seed 7]`"""
    tokens, timings = len(result.ids), result.timings
    why = {
        "stop": f"stopped by {result.stopped_by!r}" if isinstance(result.stopped_by, str) else "end of text",
        "match": "matches as a whole",
        "length": "max tokens reached",
        "context": "context full",
    }[result.finish_reason]
    seed = f"seed {result.seed}" + (f", row {result.row}" if result.row else "")
    speed = f"{timings.tokens_per_second(tokens):.0f} tokens/s{share}"
    return f"[{tokens} tokens, {speed}, first after {timings.first_token * 1e3:.0f} ms; {why}; {seed}]"


def total_figures(results: Sequence[Generation]) -> str:
    """`[4 rows, 168 tokens, 610 tokens/s, first after 31 ms; seed 7]`"""
    tokens = sum(len(result.ids) for result in results)
    seconds = max(result.timings.total for result in results)
    first = min(result.timings.first_token for result in results)
    speed = tokens / seconds if seconds else 0.0
    return (
        f"[{len(results)} rows, {tokens} tokens, {speed:.0f} tokens/s, first after {first * 1e3:.0f} ms; "
        f"seed {results[0].seed}]"
    )


def share(result: Generation, engine: Engine) -> str:
    """`, 61% of the memory's speed`: what the weights read for each token are of what memory gives, measured now.

    Empty for a short text, off the CPU, and for weights that may lie in a cache.
    """
    needed = bytes_per_token(engine.model)
    if engine.device.type != "cpu" or len(result.ids) < LONG_ENOUGH or needed < BEYOND_CACHES:
        return ""
    used = needed * result.timings.tokens_per_second(len(result.ids)) / memory_bandwidth()
    return f", {used:.0%} of the memory's speed"


def show_score(score: Score, *, json: bool) -> None:
    """The sums of a score, without the single tokens."""
    sums = {
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
        "nats_per_token": score.nats / len(score.logprobs),
        "nats": score.nats,
        "tokens": len(score.logprobs),
        "bytes": score.bytes,
    }
    if json:
        print(json_format.dumps(sums))
        return
    for name, value in sums.items():
        print(
            f"{name.replace('_', ' '):15} {value:,.4f}"
            if isinstance(value, float)
            else f"{name:15} {value:,}"
        )


def show_verified(found: Verified) -> None:
    """One line a folder: whole, or what is wrong."""
    if found.problem is None:
        print(f"{found.folder}: whole ({found.files} files, {found.bytes:,} bytes)")
    else:
        print(f"{found.folder}: damaged\n{found.problem}")


def show_compared(folder: Path, found: "Compared") -> None:
    """One line: the largest difference, and how many of our likeliest tokens are transformers' too."""
    verdict = "agrees with" if found.agrees else "differs from"
    print(
        f"{folder}: {verdict} transformers: logits within {found.difference:.2g} (the largest is {found.largest:.3g}, "
        f"tolerance {found.tolerance:g}) at {found.positions} places; {found.same} of {found.written} greedy tokens the same"
    )


def _put(text: str, terminal: bool) -> None:
    sys.stdout.write(visible(text) if terminal else text)
    sys.stdout.flush()


def visible(text: str) -> str:
    """Control characters as their pictures, so that no text a model writes can take over a terminal."""
    return "".join(_picture(character) for character in text)


def _picture(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or not (code < 0x20 or 0x7F <= code < 0xA0):
        return character
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"
