"""Optimizers from their papers, gradient clipping, the average of the weights, and the rules for which parameters get what."""

from lm_core.optim.adafactor import Adafactor
from lm_core.optim.adamw import AdamW
from lm_core.optim.clip import clip_grad_norm
from lm_core.optim.ema import EMA
from lm_core.optim.groups import mup_groups, split_parameters, weight_decay_groups
from lm_core.optim.lion import Lion
from lm_core.optim.muon import Muon
from lm_core.optim.schedule_free import ScheduleFreeAdamW

__all__ = [
    "EMA",
    "Adafactor",
    "AdamW",
    "Lion",
    "Muon",
    "ScheduleFreeAdamW",
    "clip_grad_norm",
    "mup_groups",
    "split_parameters",
    "weight_decay_groups",
]
