"""What the command line shows: the text as it comes, and one line of figures behind it."""

import json as json_format
import sys
from dataclasses import asdict
from typing import Any

from lm_generate.engine import Engine
from lm_generate.results import Generation, Score
from lm_generate.stream import TextStream
from lm_generate.verify import Verified

Sample = tuple[int, int]
"""(which, of how many), from 1."""


def show_model(engine: Engine, *, newest: bool) -> None:
    """The line that says which model writes."""
    parameters = sum(parameter.numel() for parameter in engine.model.parameters())
    why = "newest run; " if newest else ""
    what = f"{parameters / 1e6:.1f} M parameters, {str(engine.dtype).removeprefix('torch.')}, {engine.device}"
    print(f"model: {engine.folder} ({why}{what})", file=sys.stderr)


def show_text(stream: TextStream, *, prompt: str, sample: Sample, echo: bool, quiet: bool) -> None:
    """Prints a continuation piece by piece, its figures at the end."""
    terminal = sys.stdout.isatty()
    if sample[1] > 1:
        print(f"--- {sample[0]} of {sample[1]} ---")
    if echo:
        _put(prompt, terminal)
    last = prompt if echo else ""
    for piece in stream:
        _put(piece, terminal)
        last = piece
    if not last.endswith("\n"):
        _put("\n", terminal)
    if stream.result is not None and not quiet:
        print(figures(stream.result), file=sys.stderr)


def show_json(stream: TextStream, *, prompt: str, sample: Sample, echo: bool, quiet: bool) -> None:
    """Prints one JSON object, on one line, when the text is complete."""
    result = stream.finish()
    record: dict[str, Any] = {"prompt": prompt, **asdict(result)} if echo else asdict(result)
    print(json_format.dumps(record, ensure_ascii=False), flush=True)
    if not quiet:
        print(figures(result), file=sys.stderr)


def figures(result: Generation) -> str:
    """`[42 tokens, 266 tokens/s, first after 31 ms; end of text; seed 7]`"""
    tokens, timings = len(result.ids), result.timings
    why = {
        "stop": f"stopped by {result.stopped_by!r}" if isinstance(result.stopped_by, str) else "end of text",
        "length": "max tokens reached",
        "context": "context full",
    }[result.finish_reason]
    seed = f"seed {result.seed}" + (f", row {result.row}" if result.row else "")
    speed = timings.tokens_per_second(tokens)
    return f"[{tokens} tokens, {speed:.0f} tokens/s, first after {timings.first_token * 1e3:.0f} ms; {why}; {seed}]"


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
