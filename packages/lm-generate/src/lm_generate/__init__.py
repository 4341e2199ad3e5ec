"""Decoding with a KV cache, sampling, streaming and scoring, for models trained here or published elsewhere.

The names below are looked up when they are first used, so that `lm-generate --help` and `lm_generate.runs` do not
wait seconds for torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_generate.engine import Engine
    from lm_generate.errors import LmGenerateError
    from lm_generate.explain import Alternative, Explained, Explanation
    from lm_generate.loader import load
    from lm_generate.logprob import TokenLogprob
    from lm_generate.results import BeamText, Generation, Score, Timings
    from lm_generate.runs import newest_run
    from lm_generate.sampling import Sampling
    from lm_generate.stream import TextStream

__all__ = [
    "Alternative",
    "BeamText",
    "Engine",
    "Explained",
    "Explanation",
    "Generation",
    "LmGenerateError",
    "Sampling",
    "Score",
    "TextStream",
    "Timings",
    "TokenLogprob",
    "load",
    "newest_run",
]
__version__ = "0.1.0"

# A name must not be that of a module: importing the module would put it in the function's place.
_HOME = {
    "Alternative": "explain",
    "BeamText": "results",
    "Engine": "engine",
    "Explained": "explain",
    "Explanation": "explain",
    "Generation": "results",
    "LmGenerateError": "errors",
    "Sampling": "sampling",
    "Score": "results",
    "TextStream": "stream",
    "Timings": "results",
    "TokenLogprob": "logprob",
    "load": "loader",
    "newest_run": "runs",
}


def __getattr__(name: str) -> Any:  # PEP 562
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return vars(import_module(f"{__name__}.{_HOME[name]}"))[name]
