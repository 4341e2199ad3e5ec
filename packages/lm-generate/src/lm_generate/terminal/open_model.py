"""The model that a command names, opened; torch is imported only once it is known what to open."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lm_generate.errors import SettingError
from lm_generate.kernel.native_library import begin_compiling, load_library
from lm_generate.runs import newest_run

if TYPE_CHECKING:
    from lm_generate.engine import Engine


def open_model(
    model: Path | None,
    *,
    device: str,
    threads: int | None,
    verify: bool,
    quiet: bool,
    dtype: str | None = None,
    patience: float | None = None,
) -> "Engine":
    """Loads the named model or the newest run's, and says which in one line on standard error.

    `patience`: seconds to wait for the kernel to be compiled, where it is not yet; None: what the model is for needs no kernel.
    """
    from lm_generate.settings import check_whole

    check_whole("threads", threads, low=1)
    if threads is not None and threads > 1024:  # torch dies of those that the system does not give
        raise SettingError(f"threads must be at most 1024, got {threads}")
    source = newest_run() if model is None else model
    native = patience is not None and device in ("auto", "cpu")
    compiling = native and begin_compiling(for_later=patience == 0)

    import torch

    from lm_generate.kernel.stored import read_storage
    from lm_generate.loader import load
    from lm_generate.terminal.show import show_model

    kept = None if dtype is None else read_storage(dtype)
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    logging.basicConfig(stream=sys.stderr, format="note: %(message)s", level=logging.WARNING)
    if not quiet:
        logging.getLogger("lm_generate").setLevel(logging.INFO)
    engine = load(source, device=device, dtype=kept, verify=verify)
    if native and device == "cpu":
        assert patience is not None
        there = load_library(patience) is not None
        if compiling:
            logging.getLogger("lm_generate").info(
                "the decoding kernel is being compiled, once on this machine%s",
                "" if there else "; this goes on without it",
            )
    if not quiet:
        show_model(engine, newest=model is None)
    return engine


def open_draft(draft: str | None, *, device: str, verify: bool) -> "Engine | Literal['prompt'] | None":
    """What guesses ahead: another model, the text itself, or nothing."""
    if draft is None or draft == "prompt":
        return draft  # type: ignore[return-value]
    from lm_generate.loader import load

    return load(draft, device="cpu" if device == "auto" else device, verify=verify)
