"""The commands that write no text: `lm-generate score`, `verify`, `quality`, `export`. They are registered by `cli.py`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lm_generate.errors import SettingError
from lm_generate.kernel.native_library import LONG_PATIENCE
from lm_generate.terminal.given import read_text
from lm_generate.terminal.open_model import open_model


def score(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    stride: int | None = None,
    model: Annotated[Path | None, Parameter(name=["--model", "-m"])] = None,
    device: str = "auto",
    threads: int | None = None,
    verify: bool = True,
    json: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
) -> int:
    """How well a model predicts a text: bits per byte and perplexity.

    Parameters
    ----------
    file
        The text, UTF-8; - reads standard input.
    stride
        Tokens that the window moves on by where the text is longer than the context; default: half of it.
    model
        A model folder, a checkpoint or a run. Without it: the newest run under runs/.
    device
        cpu, cuda, cuda:1, ...; auto: cuda if there is one.
    threads
        CPU threads.
    verify
        Check the SHA-256 of the model's files before use.
    json
        One JSON object instead of a table.
    quiet
        Nothing on standard error but errors.
    """
    text = read_text(file)
    engine = open_model(model, device=device, threads=threads, verify=verify, quiet=quiet)

    from lm_generate.terminal.show import show_score

    show_score(engine.score(text, stride=stride), json=json)
    return 0


def verify(
    folder: Path,
    *,
    against: Literal["transformers"] | None = None,
    tolerance: float | None = None,
) -> int:
    """Checks every byte of a model folder, a checkpoint or a run.

    Against its manifest; of a run, all checkpoints. Exit code 1 where something is damaged, with its name, or where another library says something else.

    Parameters
    ----------
    folder
        A model folder, a checkpoint or a run.
    against
        Instead, compare the logits and the likeliest tokens with those of transformers, which must be installed, on
        the same folder; of a run, its newest checkpoint.
    tolerance
        With --against: the largest difference between two logits that is still agreement; default 0.001.
    """
    if against is not None:
        return compare_with_transformers(folder, tolerance)
    if tolerance is not None:
        raise SettingError("--tolerance is for a comparison: give --against transformers as well")
    from lm_generate.terminal.show import show_verified
    from lm_generate.verify import verify_model

    whole = True
    for found in verify_model(folder):
        show_verified(found)
        whole = whole and found.problem is None
    return 0 if whole else 1


def quality(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    model: Annotated[Path | None, Parameter(name=["--model", "-m"])] = None,
    threads: int | None = None,
    verify: bool = True,
    json: Annotated[bool, Parameter(negative=())] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
) -> int:
    """What weights kept as bfloat16, float16 or int8 cost on a text.

    In bits per byte, and in divergence.

    Parameters
    ----------
    file
        The text, UTF-8; - reads standard input.
    model
        A model folder, a checkpoint or a run. Without it: the newest run under runs/.
    threads
        CPU threads.
    verify
        Check the SHA-256 of the model's files before use.
    json
        One JSON object a line instead of a table.
    quiet
        Nothing on standard error but errors.
    """

    text = read_text(file)
    engine = open_model(
        model,
        device="cpu",
        threads=threads,
        verify=verify,
        quiet=quiet,
        dtype="float32",
        patience=LONG_PATIENCE,
    )

    from lm_generate.quality import quality as measure
    from lm_generate.terminal.show_quality import show_quality

    show_quality(measure(engine, text), json=json)
    return 0


def export(
    *,
    gguf: Path,
    model: Annotated[Path | None, Parameter(name=["--model", "-m"])] = None,
    dtype: Literal["float32", "float16", "bfloat16", "q8_0"] = "float32",
    verify: bool = True,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())] = False,
) -> int:
    """Writes a model as a GGUF file, for llama.cpp.

    Parameters
    ----------
    gguf
        The file to write; it must not exist yet.
    model
        A model folder, a checkpoint or a run. Without it: the newest run under runs/.
    dtype
        What the matrices are kept as; q8_0 is int8 with a scale for 32 weights.
    verify
        Check the SHA-256 of the model's files before use.
    quiet
        Nothing on standard error but errors.
    """

    engine = open_model(model, device="cpu", threads=None, verify=verify, quiet=quiet)

    from lm_generate.gguf_file import write_gguf

    size = write_gguf(engine, gguf, dtype)
    print(f"{gguf}: {size:,} bytes, {dtype}")
    return 0


def compare_with_transformers(folder: Path, tolerance: float | None) -> int:
    """`lm-generate verify FOLDER --against transformers`: 0 where both agree, 1 where they do not."""
    engine = open_model(folder, device="cpu", threads=None, verify=True, quiet=True, dtype="float32")

    from lm_generate.against import TOLERANCE, compare
    from lm_generate.terminal.show import show_compared

    assert engine.folder is not None
    found = compare(engine, engine.folder, tolerance=TOLERANCE if tolerance is None else tolerance)
    show_compared(engine.folder, found)
    return 0 if found.agrees else 1
