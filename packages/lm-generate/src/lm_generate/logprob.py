"""How likely the model held a token, and what it would have preferred."""

from dataclasses import dataclass

import numpy as np

from lm_generate.sampling import FloatArray, log_probabilities


@dataclass(frozen=True)
class TokenLogprob:
    """The model's own view of a token: natural logarithms, before every sampling setting."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The most likely (id, logprob) at this place, best first; as many as were asked for."""


def token_logprob(logits: FloatArray, id: int, top: int) -> TokenLogprob:
    """The log-probability of `id` and of the `top` most likely ids; ties to the lower id."""
    log_p = log_probabilities(logits)
    best = np.argsort(-log_p, kind="stable")[:top] if top else ()
    return TokenLogprob(id, float(log_p[id]), tuple((int(i), float(log_p[i])) for i in best))
