"""Which optimizer updates which parameters, and its learning rate and momentum at each step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from lm_core import Transformer
from lm_core.optim import EMA, Adafactor, AdamW, Lion, Muon, ScheduleFreeAdamW, mup_groups, split_parameters

from lm_train.config import OptimConfig
from lm_train.loss_scale import LossScale

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class Part:
    """One optimizer, the name its state is saved under, and its peak learning rate."""

    name: str
    optimizer: torch.optim.Optimizer
    peak: float


_STATE_NUMBERS = {  # kept for each weight, in memory or in a checkpoint
    "muon": 1,
    "adamw": 2,
    "adafactor": 0,  # a few a row
    "lion": 1,
    "schedule-free": 3,  # z, v, and in a checkpoint the weights that are trained beside their average
}
_EMA_NUMBERS = 2  # the average, and in a checkpoint the weights that are trained


class Optimizers:
    """All parameters of a model, each under exactly one optimizer. The caller sets the step before each update.

    With `optim.ema` or the schedule-free optimizer there are two sets of weights: those that are trained, and their average, which is
    scored, sampled and saved. The model holds the average inside `with optimizers.resting():`, and `own` then has the others.
    `ranks` are processes that hold the same model: Muon orthogonalizes each matrix on one of them, and all get the same bits.
    `scale` is what losses are scaled by (`scaled`: for float16), else None.
    """

    def __init__(
        self,
        model: Transformer,
        config: OptimConfig,
        *,
        scaled: bool = False,
        ranks: ProcessGroup | None = None,
    ) -> None:
        self.model = model
        self._config = config
        matrices, rest = split_parameters(model)
        if config.name == "muon":
            # In bfloat16, where a CPU has units for it, ranks would agree to 7e-5 after 20 steps instead of 1e-5, to gain a third of Muon's time.
            on_cpu = bool(matrices) and matrices[0].device.type == "cpu"
            muon = Muon(
                matrices,
                lr=config.muon_lr,
                momentum=config.momentum_start,
                weight_decay=config.weight_decay,
                ns_dtype=torch.float32 if on_cpu else None,
                ranks=ranks,
            )
            adamw = _one(replace(config, name="adamw", lr=config.peak), _groups(model, config, [], rest))
            self.parts = [Part("muon", muon, config.muon_lr), Part("adamw", adamw, config.peak)]
        else:
            one = _one(config, _groups(model, config, matrices, rest))
            self.parts = [Part(config.name, one, config.peak)]
        self.ema = EMA(model, config.ema) if config.ema else None
        self.own: dict[str, torch.Tensor] = {}
        self.scale = LossScale() if scaled else None

    def set_step(self, step: int, factor: float) -> None:
        """Take the learning rates, `factor` of their peaks, and Muon's momentum for this step."""
        c = self._config
        warm = min(1.0, step / c.momentum_warmup) if c.momentum_warmup else 1.0
        for part in self.parts:
            for group in part.optimizer.param_groups:
                group["lr"] = part.peak * factor * group.get("share", 1.0)
                if part.name == "muon":
                    group["momentum"] = c.momentum_start + warm * (c.momentum - c.momentum_start)

    @property
    def lr(self) -> float:
        """The learning rate of this step; with muon, AdamW's."""
        return float(self.parts[-1].optimizer.param_groups[0]["lr"])

    def row(self) -> dict[str, float]:
        """For metrics.jsonl: the learning rate of this step, and the loss scale of the next where there is one."""
        return {"lr": self.lr} | ({} if self.scale is None else {"loss_scale": self.scale.value})

    def step(self) -> None:
        for part in self.parts:
            part.optimizer.step()
        if self.ema is not None:
            self.ema.update()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """The model holds the weights to score and to keep inside the block, and its own, bit for bit, after it."""
        free = [part.optimizer for part in self.parts if isinstance(part.optimizer, ScheduleFreeAdamW)]
        averaging = self.ema is not None and self.ema.step > 0
        if self.own or not (free or averaging):
            yield
            return
        self.own = {name: weights.detach().clone() for name, weights in self.model.named_parameters()}
        try:
            if self.ema is not None:
                self.ema.copy_to(self.model)
            for optimizer in free:
                optimizer.eval()
            yield
        finally:
            for optimizer in free:
                optimizer.train()
            with torch.no_grad():
                for name, weights in self.model.named_parameters():
                    weights.copy_(self.own[name])
            self.own = {}

    @property
    def state_bytes(self) -> int:
        """What the state takes, in memory and in a checkpoint, once there is one: float32 numbers for each weight."""
        average = 0 if self.ema is None else _EMA_NUMBERS * sum(p.numel() for p in self.model.parameters())
        return 4 * average + sum(  # type: ignore[no-any-return]  # of torch's untyped groups
            4 * _STATE_NUMBERS[part.name] * parameter.numel()
            for part in self.parts
            for group in part.optimizer.param_groups
            for parameter in group["params"]
        )

    def zero_grad(self) -> None:
        self.model.zero_grad(set_to_none=True)


def _groups(
    model: Transformer,
    config: OptimConfig,
    matrices: list[torch.nn.Parameter],
    rest: list[torch.nn.Parameter],
) -> list[dict[str, Any]]:
    """Parameter groups: the matrices decay, the rest does not; with `mup_base`, what widens with the model has a share of the rate."""
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    if config.mup_base is not None:
        wide, _ = mup_groups(model, 1.0, config.mup_base)
        widens = {id(weights) for weights in wide["params"]}
        groups = [
            {**group, "params": [p for p in group["params"] if (id(p) in widens) == is_wide], "share": share}
            for group in groups
            for is_wide, share in ((True, wide["lr"]), (False, 1.0))
        ]
    return [group for group in groups if group["params"]]


def _one(config: OptimConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    betas = (config.beta1, config.beta2)
    if config.name == "adamw":
        return AdamW(groups, lr=config.peak, betas=betas, eps=config.eps, compile=config.compile)
    if config.name == "lion":
        return Lion(groups, lr=config.peak, betas=betas)
    if config.name == "schedule-free":
        return ScheduleFreeAdamW(groups, lr=config.peak, betas=betas, eps=config.eps)
    return Adafactor(groups, lr=config.peak)
