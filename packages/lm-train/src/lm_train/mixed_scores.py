"""How well a finished run knows each of the texts that were mixed in: a score on their own held-out parts."""

from __future__ import annotations

from lm_train.batches import ValidationWindows
from lm_train.evaluate import evaluate
from lm_train.session import Session
from lm_train.signals import Stop


def score_mixed(s: Session, stop: Stop) -> None:
    """A row of metrics for each text of `mix` that has a held-out part; ends early where a stop is asked for."""
    c = s.config
    for part in s.mixed:
        if "valid" not in part.dataset.splits:
            continue
        windows = ValidationWindows(
            part.dataset,
            context=c.model.context,
            batch=c.batch,
            windows=c.evaluate.windows,
            apart=c.keeps_apart,
        )
        with s.ranks.patience(), s.optimizers.resting():
            found = evaluate(s.model, windows, s.device, stopped=lambda: stop.requested is not None)
        if found is None:
            return
        s.log(
            mix=part.name,
            mix_valid_loss=found.loss,
            mix_valid_bits_per_byte=found.bits_per_byte,
            mix_valid_tokens=found.tokens,
        )
