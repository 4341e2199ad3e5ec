"""What a command line gives as text: prompts, files, standard input, biases. Imports no torch."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lm_generate.errors import PromptError, SettingError


def read_bias(given: Sequence[str]) -> dict[int, float]:
    """`["5=-inf", "7=2.5"]` as {5: -inf, 7: 2.5}."""
    bias = {}
    for item in given:
        id, _, value = item.partition("=")
        try:
            bias[int(id)] = float(value)
        except ValueError as error:
            raise SettingError(
                f"--logit-bias takes ID=VALUE, such as 5=-inf or 7=2.5; got {item!r}"
            ) from error
    return bias


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt from the command line, standard input or a file."""
    if prompt is not None and file is not None:
        raise PromptError("give --prompt or --file, not both")
    if file is None and prompt != "-":
        return prompt or ""
    return read_text(str(file) if file is not None else "-").removesuffix("\n").removesuffix("\r")


def read_text(name: str) -> str:
    """The text of a file, or of standard input for "-". Raises PromptError for what cannot be read as UTF-8."""
    what = "standard input" if name == "-" else name
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        raise PromptError(f"cannot read {what}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{what} is not UTF-8 text: byte {data[error.start]:#04x} at offset {error.start}"
        ) from error
