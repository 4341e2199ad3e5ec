"""The optimizer, and the learning rate over the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cyclopts import Group, Parameter

from lm_train.settings.checks import below_one, check, not_negative, positive, share


@Parameter(group=Group("Optimizer", sort_key=4))
@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Which update rule, and its numbers."""

    name: Literal["muon", "adamw", "adafactor", "lion", "schedule-free"] = "muon"
    """muon: Muon on the blocks' matrices and AdamW on everything else. The others: one rule for all (schedule-free: with schedule.name constant)."""
    lr: float | None = None
    """Peak learning rate (with muon: of what AdamW updates); 0.012 with muon and 0.004 with the others unless given."""
    muon_lr: float = 0.03
    """Peak learning rate of Muon's matrices."""
    beta1: float = 0.9
    """Decay of the mean of gradients (AdamW, Lion)."""
    beta2: float = 0.95
    """Decay of the mean of squared gradients (AdamW), or of Lion's memory."""
    eps: float = 1e-10
    """Added to AdamW's divisor."""
    weight_decay: float = 0.0
    """Decoupled decay of matrices; norms, biases and embeddings are never decayed."""
    momentum: float = 0.95
    """Muon's momentum once it is warm."""
    momentum_start: float = 0.85
    """Muon's momentum at step 0."""
    momentum_warmup: int = 150
    """Steps from momentum_start to momentum."""
    clip: float = 1.0
    """Largest gradient norm over all parameters; 0 clips nothing."""
    ema: float | None = None
    """Decay of an average of the weights (0.999), which is then scored, sampled and saved; the last weights unless given."""
    mup_base: int | None = None
    """The d_model that lr was tuned at: with model.init mup it then serves any width (AdamW and schedule-free)."""
    compile: bool = False
    """Compile AdamW's update: half its time on a CPU, after some seconds at the first step; equal to rounding."""
    max_bad_steps: int = 10
    """Stop after so many steps in a row whose loss or gradient is not finite."""

    @property
    def peak(self) -> float:
        """The learning rate `lr`, or what suits the optimizer: beside Muon, AdamW has the tables only, which take a larger one."""
        return self.lr if self.lr is not None else 0.012 if self.name == "muon" else 0.004

    def __post_init__(self) -> None:
        positive(
            optim__lr=self.lr,
            optim__muon_lr=self.muon_lr,
            optim__eps=self.eps,
            optim__max_bad_steps=self.max_bad_steps,
            optim__mup_base=self.mup_base,
        )
        not_negative(
            optim__weight_decay=self.weight_decay,
            optim__momentum_warmup=self.momentum_warmup,
            optim__clip=self.clip,
        )
        below_one(
            optim__beta1=self.beta1,
            optim__beta2=self.beta2,
            optim__momentum=self.momentum,
            optim__momentum_start=self.momentum_start,
            **({} if self.ema is None else {"optim__ema": self.ema}),
        )
        by_adamw = self.name in ("adamw", "muon")
        check(
            not self.compile or by_adamw,
            "optim.compile",
            "true",
            f"left out with {self.name}: it is of AdamW",
        )
        check(
            self.mup_base is None or self.name in ("adamw", "schedule-free", "muon"),
            "optim.mup_base",
            self.mup_base,
            f"left out with {self.name}: its rule is Adam's",
        )
        if self.name == "schedule-free":
            check(
                self.ema is None,
                "optim.ema",
                self.ema,
                "left out with schedule-free, which averages by itself",
            )
            check(self.beta1 > 0, "optim.beta1", self.beta1, "above 0 with schedule-free")


@Parameter(group=Group("Schedule", sort_key=5))
@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over the run, as a share of its peak."""

    name: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    """wsd: warm up, stay, decay in a line; cosine and linear: decay from the end of the warm-up; constant: never decay."""
    warmup: int = 20
    """Steps from 0 to the peak."""
    decay: float = 0.7
    """Share of the run at its end over which wsd decays."""
    floor: float = 0.0
    """Where the decay ends, as a share of the peak."""

    def __post_init__(self) -> None:
        not_negative(schedule__warmup=self.warmup)
        share(schedule__decay=self.decay, schedule__floor=self.floor)
