"""From logits to one token, in one fixed order: bias, penalties, bans, temperature, top-k, top-p, min-p, typical, draw.

Steps 1 to 3 change logits, in `lm_generate.adjust`. Then, of the logits l that they leave:

4. temperature T:  p_i = exp(l_i / T) / sum_j exp(l_j / T)          (T = 0: the largest logit, nothing drawn)
5. top-k:          keep the k most probable tokens                   (k = 0: off)
6. top-p:          keep the shortest run of most probable tokens whose probabilities reach p   (1: off)
7. min-p:          keep the tokens at least m times as probable as the most probable one       (0: off)
8. typical:        keep the shortest run of tokens whose -log p is nearest the entropy H = -sum p log p
                   and whose probabilities reach t                   (t = 1: off)
9. draw:           the first id whose running sum, in order of ids, exceeds u * total

After each of 5 to 8 what is left is renormalised, and at least one token stays.

Ties, everywhere: of equally probable tokens the lower id comes first. So top-k keeps exactly k tokens, and
greedy takes the lowest id of the largest logits. All sums are float64. A logit of -inf is a token that
cannot be drawn; NaN and +inf are errors.

The order is that of Hugging Face's `generate`. Top-p: Holtzman et al. 2020, https://arxiv.org/abs/1904.09751;
min-p: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082; typical: Meister et al. 2022, https://arxiv.org/abs/2202.00666.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lm_generate.errors import NonFiniteLogitsError, SettingError

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
IdArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is chosen. Raises `SettingError` when a value is out of range."""

    temperature: float = 0.8
    """0 is greedy; 1 is the model's own distribution; below 1 sharper, above 1 flatter."""
    top_k: int = 0
    """Keep the k most probable tokens; 0 keeps all; more than the vocabulary keeps all."""
    top_p: float = 1.0
    """Keep the most probable tokens that reach this share; in (0, 1]; 1 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least so many times as probable as the most probable one; in [0, 1]; 0 keeps all."""
    typical_p: float = 1.0
    """Keep the tokens nearest the expected surprise that reach this share; in (0, 1]; 1 keeps all."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise SettingError(
                f"temperature must be a finite number >= 0 (0 is greedy), got {self.temperature}"
            )
        if isinstance(self.top_k, bool) or not isinstance(self.top_k, int) or self.top_k < 0:
            raise SettingError(f"top_k must be a whole number >= 0 (0 turns it off), got {self.top_k}")
        for name, share in (("top_p", self.top_p), ("typical_p", self.typical_p)):
            if not 0 < share <= 1:
                raise SettingError(f"{name} must lie in (0, 1] (1 turns it off), got {share}")
        if not 0 <= self.min_p <= 1:
            raise SettingError(f"min_p must lie in [0, 1] (0 turns it off), got {self.min_p}")


def check_logits(logits: FloatArray) -> None:
    """Raises `NonFiniteLogitsError` unless at least one logit is finite and none is NaN or +inf."""
    largest = logits.max()  # NaN if any is NaN
    if np.isfinite(largest):
        return
    if largest == -np.inf:
        raise NonFiniteLogitsError(f"all {logits.size} logits are -inf: no token is left to choose from")
    bad = np.flatnonzero(~(logits < np.inf))
    raise NonFiniteLogitsError(
        f"{bad.size} of {logits.size} logits are NaN or +inf (the first is id {bad[0]}: {logits[bad[0]]}); "
        "the weights are damaged or the dtype overflows: try float32"
    )


def greedy(logits: FloatArray) -> int:
    """The id of the largest logit; of equal ones the lowest."""
    check_logits(logits)
    return int(logits.argmax())


def log_probabilities(logits: FloatArray) -> Float64Array:
    """log softmax of the plain logits, before any sampling setting, in nats."""
    check_logits(logits)
    shifted = logits.astype(np.float64) - float(logits.max())
    result: Float64Array = shifted - math.log(np.exp(shifted).sum())
    return result


def candidates(logits: FloatArray, sampling: Sampling) -> tuple[IdArray, Float64Array]:
    """The tokens that may be drawn and their probabilities (sum 1), in order of ids. Temperature above 0."""
    check_logits(logits)
    ids = top_k_ids(logits, sampling.top_k)
    kept = (logits if ids.size == logits.size else logits[ids]).astype(np.float64)
    kept -= kept.max()
    with np.errstate(over="ignore"):  # a tiny temperature: -inf, so probability 0, is what is meant
        kept /= sampling.temperature
    probabilities = np.exp(kept, out=kept)
    probabilities /= probabilities.sum()
    if sampling.top_p < 1:
        ids, probabilities = keep(ids, probabilities, top_p_indices(probabilities, sampling.top_p))
    if sampling.min_p > 0:
        ids, probabilities = keep(ids, probabilities, min_p_indices(probabilities, sampling.min_p))
    if sampling.typical_p < 1:
        ids, probabilities = keep(ids, probabilities, typical_indices(probabilities, sampling.typical_p))
    return ids, probabilities


def keep(ids: IdArray, probabilities: Float64Array, chosen: IdArray) -> tuple[IdArray, Float64Array]:
    """The chosen places of both, renormalised."""
    kept = probabilities[chosen]
    return ids[chosen], kept / kept.sum()


def probabilities(logits: FloatArray, sampling: Sampling) -> Float64Array:
    """The distribution a token is drawn from, one probability for each id; one-hot when greedy."""
    result = np.zeros(logits.size, dtype=np.float64)
    if sampling.temperature == 0:
        result[greedy(logits)] = 1.0
        return result
    ids, kept = candidates(logits, sampling)
    result[ids] = kept
    return result


def choose(logits: FloatArray, sampling: Sampling, u: float) -> int:
    """One token id from logits (vocab_size,) and a number u in [0, 1); greedy does not look at u."""
    if sampling.temperature == 0:
        return greedy(logits)
    ids, kept = candidates(logits, sampling)
    running = np.cumsum(kept)
    # side="right": the first sum strictly above u * total, so a token of probability 0 is never drawn.
    index = int(np.searchsorted(running, u * running[-1], side="right"))
    return int(ids[index])


def top_k_ids(logits: FloatArray, k: int) -> IdArray:
    """The ids of the k largest logits, ascending; ties to the lower id; k = 0 or k >= size: all."""
    if k == 0 or k >= logits.size:
        return np.arange(logits.size)
    threshold = np.partition(logits, logits.size - k)[logits.size - k]  # O(n), where a sort is O(n log n)
    above = np.flatnonzero(logits > threshold)
    level = np.flatnonzero(logits == threshold)[: k - above.size]
    return np.sort(np.concatenate([above, level]))


def top_p_indices(probabilities: Float64Array, p: float) -> IdArray:
    """Indices, ascending, of the shortest run of most probable tokens whose sum reaches p; ties to the lower index.

    All tokens below (1 - p) / n together weigh less than 1 - p, so none of them is needed to reach p: they are
    left out before the sort, which makes it cheap for a peaked distribution. The half is room for rounding.
    """
    likely = np.flatnonzero(probabilities >= 0.5 * (1 - p) / probabilities.size)
    order = likely[np.argsort(-probabilities[likely], kind="stable")]
    return shortest_run(probabilities, order, p)


def min_p_indices(probabilities: Float64Array, share: float) -> IdArray:
    """Indices, ascending, of the tokens with p_i >= share * max p."""
    return np.flatnonzero(probabilities >= share * probabilities.max())


def typical_indices(probabilities: Float64Array, p: float) -> IdArray:
    """Indices, ascending, of the shortest run in order of |-log p_i - H| whose sum reaches p; ties to the lower index.

    Tokens of probability 0 are infinitely far from the entropy H and come last.
    """
    with np.errstate(divide="ignore"):
        surprise = -np.log(probabilities)
    positive = probabilities > 0
    entropy = float((probabilities[positive] * surprise[positive]).sum())
    return shortest_run(probabilities, np.argsort(np.abs(surprise - entropy), kind="stable"), p)


def shortest_run(probabilities: Float64Array, order: IdArray, p: float) -> IdArray:
    """The first places of `order`, ascending, whose sum reaches p; all of them where rounding keeps it below p."""
    running = np.cumsum(probabilities[order])
    needed = int(np.searchsorted(running, p, side="left")) + 1  # the first sum >= p belongs to the run
    return np.sort(order[:needed])
