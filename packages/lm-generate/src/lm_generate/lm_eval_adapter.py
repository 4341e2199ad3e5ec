"""lm-evaluation-harness on our own engine: `python -m lm_generate.lm_eval_adapter run --model lm-generate --model_args model=FOLDER ...`

    import lm_eval
    from lm_generate.lm_eval_adapter import LmGenerate

    lm_eval.simple_evaluate(model=LmGenerate("runs/x"), tasks=["my_task"], task_manager=...)

Needs `pip install lm-eval`. What is computed is `lm_generate.harness`; docs/evaluation.md says how figures compare.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM  # type: ignore[import-not-found, unused-ignore]
from lm_eval.api.registry import register_model  # type: ignore[import-not-found, unused-ignore]

from lm_generate.engine import Engine
from lm_generate.harness import log_likelihoods, text_likelihood, write_until
from lm_generate.kernel.stored import read_storage
from lm_generate.loader import load


@register_model("lm-generate")  # type: ignore[misc, unused-ignore]
class LmGenerate(LM):  # type: ignore[misc, unused-ignore]
    """An engine, or a folder to load one from, as the harness calls it. `batch_size` and `device` of the harness are taken and
    change nothing: the engine finds its own batches, on the CPU unless `on` names a device."""

    def __init__(
        self,
        model: Engine | str | Path,
        dtype: str | None = None,
        on: str = "cpu",
        batch_size: Any = None,
        max_batch_size: Any = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, Engine):
            model = load(model, device=on, dtype=None if dtype is None else read_storage(dtype))
        self.engine = model

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each (context, continuation)."""
        found = log_likelihoods(self.engine, [request.args for request in requests])
        return self._kept("loglikelihood", requests, found)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """For each (text,)."""
        found = [text_likelihood(self.engine, request.args[0]) for request in requests]
        return self._kept("loglikelihood_rolling", requests, found)

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """For each (context, settings)."""
        found = write_until(self.engine, [request.args for request in requests])
        return self._kept("generate_until", requests, found)

    def _kept(self, name: str, requests: Sequence[Any], found: list[Any]) -> list[Any]:
        """Into the harness' cache too, where it keeps one."""
        for request, answer in zip(requests, found, strict=True):
            self.cache_hook.add_partial(name, request.args, answer)
        return found


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate  # type: ignore[import-not-found, unused-ignore]

    cli_evaluate()
