"""Adafactor: the second moment of a matrix kept as one row and one column.

Shazeer & Stern 2018, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, https://arxiv.org/abs/1804.04235,
algorithms 4 and 5.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lm_core.errors import ConfigError
from lm_core.optim.one_pass import fits
from lm_core.optim.optimizer import GroupOptimizer, Number, Parameters, check_not_negative, gradient
from lm_core.optim.ranks import is_sharded, require_rows

WORTH_PIECES = 1 << 16  # elements
PIECE = 1 << 19  # elements gone through at a time: 2 MB, what the caches of two cores hold


class Adafactor(GroupOptimizer):
    """For step t = 1, 2, ... and gradient G of a parameter X, with RMS(x) = sqrt(mean(x**2)):

        X     <- X - lr * weight_decay * X
        rho    = min(lr, 1 / sqrt(t));   alpha = max(eps[1], RMS(X before decay)) * rho
        beta2  = 1 - t**beta2_decay
        R     <- beta2 * R + (1 - beta2) * mean over the last axis of G**2
        C     <- beta2 * C + (1 - beta2) * mean over the axis before it of G**2
        V      = R C / mean(R)                     (vectors keep V itself: V <- beta2 * V + (1 - beta2) * G**2)
        U      = G / max(sqrt(V), eps[0])
        X     <- X - alpha * U / max(1, RMS(U) / d)

    Two differences from the paper, the same as torch's, so that results can be compared: lr takes the place of its constant 0.01, and
    eps[0] is a floor under mean(R) and sqrt(V) instead of a term added to G**2. eps[0]=None is the parameter dtype's machine epsilon.

    State: `R` and `C`, or `V` for vectors and scalars, and `step`. Axes before the last two are a batch. Tensors are
    updated one after another: doing many at once needs as much memory again as the parameters, which is what Adafactor is
    chosen to save. `foreach=False` is the definition; `foreach=True` goes through large matrices on a CPU a piece of rows at a
    time, the same to rounding. Errors: `ConfigError`.
    """

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-2,
        beta2_decay: Number = -0.8,
        eps: tuple[Number | None, Number] = (None, 1e-3),
        d: Number = 1.0,
        weight_decay: Number = 0.0,
        *,
        foreach: bool = True,
    ) -> None:
        settings = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "foreach": foreach})

    def check(self, group: dict[str, Any]) -> None:
        check_not_negative(group, "lr", "weight_decay")
        if not group["beta2_decay"] <= 0:
            raise ConfigError(f"beta2_decay must be <= 0, got {group['beta2_decay']}")
        if not group["d"] >= 1:
            raise ConfigError(f"d must be >= 1, got {group['d']}")
        if len(group["eps"]) != 2:
            raise ConfigError(f"eps must be two numbers, got {group['eps']}")
        eps1, eps2 = group["eps"]
        check_not_negative({"eps[0]": eps1 or 0.0, "eps[1]": eps2}, "eps[0]", "eps[1]")

    def new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        step = torch.zeros((), dtype=torch.int64)
        if parameter.ndim < 2:
            return {"step": step, "V": torch.zeros_like(parameter)}
        require_rows("Adafactor", parameter)
        rows, columns = parameter[..., :1], parameter[..., :1, :]
        return {"step": step, "R": torch.zeros_like(rows), "C": torch.zeros_like(columns)}

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            state["step"] += 1
            # a state_dict of before has no such key
            if not (group.get("foreach") and _in_pieces(parameter, gradient(parameter), state, group)):
                adafactor_update(parameter, gradient(parameter), state, group)


def adafactor_update(
    parameter: Tensor, grad: Tensor, state: dict[str, Tensor], group: dict[str, Any]
) -> None:
    """One step on one tensor, in place: the definition. Nothing is read back from the device."""
    step = int(state["step"])
    lr, new = float(group["lr"]), step ** group["beta2_decay"]  # new = 1 - beta2
    eps1, eps2 = group["eps"]
    floor = torch.finfo(parameter.dtype).eps if eps1 is None else eps1
    alpha = _rms(parameter).clamp_min(eps2) * min(lr, step**-0.5)
    parameter.mul_(1 - lr * group["weight_decay"])
    if parameter.ndim < 2:
        estimate = state["V"].lerp_(grad.square(), new).clone()
    else:
        # not in place: the mean over an axis that a shard is cut along is cut in another way than a new state
        state["R"] = state["R"].lerp(_mean_square(grad, -1), new)
        state["C"] = state["C"].lerp(_mean_square(grad, -2), new)
        estimate = state["R"] @ state["C"] / state["R"].mean(-2, keepdim=True).clamp_min(floor)
    change = estimate.clamp_(min=floor * floor).rsqrt_().mul_(grad)  # torch 2.10 shards no clamp_min_
    change = change.mul_(alpha / (_rms(change) / group["d"]).clamp_min(1.0))
    if is_sharded(parameter) and is_sharded(change):  # of a single row, for one, all ranks have all
        change = change.redistribute(parameter.device_mesh, parameter.placements)
    parameter.sub_(change)


def _in_pieces(parameter: Tensor, grad: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> bool:
    """The same step on a large matrix in the memory of a CPU, a piece of rows at a time; False, and nothing done, elsewhere.

    1/sqrt(V) is a number a row times a number a column, so that no tensor of the matrix's size is made and no root taken
    of each element: 23 million parameters in 44 ms against 123. Where V could be below its floor the definition is used,
    except in rows and columns whose gradient never was anything but zero, as of tokens that did not occur: they stay.
    """
    if parameter.ndim != 2 or parameter.numel() < WORTH_PIECES or not fits((parameter, grad)):
        return False
    step = int(state["step"])
    lr, new = float(group["lr"]), step ** group["beta2_decay"]
    eps1, eps2 = group["eps"]
    floor = torch.finfo(parameter.dtype).eps if eps1 is None else eps1
    height, width = parameter.shape
    size = max(1, PIECE // width)
    buffer = grad.new_empty(min(size, height), width)
    row, column = grad.new_empty(height), grad.new_zeros(width)
    ones = grad.new_ones(max(width, len(buffer)))
    for piece, out in _row_pieces(grad, size):
        square = torch.mul(piece, piece, out=buffer[: len(piece)])
        torch.mv(square, ones[:width], out=row[out])
        column.addmv_(square.T, ones[: len(piece)])
    r = state["R"].lerp(row.div_(width)[:, None], new)
    c = state["C"].lerp(column.div_(height)[None], new)
    mean = r.mean().clamp_min(floor)
    if _smallest(r) / mean * _smallest(c) < floor * floor:
        return False
    by_row = (r / mean).rsqrt_().masked_fill_(r == 0, 0.0)
    by_column = c.rsqrt().masked_fill_(c == 0, 0.0)
    for piece, out in _row_pieces(grad, size):
        scaled = torch.mul(piece, by_column, out=buffer[: len(piece)])
        torch.linalg.vector_norm(scaled, dim=1, out=row[out])
    change_rms = _rms(row * by_row[:, 0]) / math.sqrt(width)
    alpha = _rms(parameter).clamp_min(eps2) * min(lr, step**-0.5)
    by_row *= -alpha / (change_rms / group["d"]).clamp_min(1.0)
    keep = 1 - lr * group["weight_decay"]
    for piece, out in _row_pieces(grad, size):
        scaled = torch.mul(piece, by_column, out=buffer[: len(piece)])
        target = parameter[out]
        if keep != 1.0:
            target.mul_(keep)
        target.addcmul_(scaled, by_row[out])
    state["R"], state["C"] = r, c
    return True


def _row_pieces(x: Tensor, size: int) -> Iterator[tuple[Tensor, slice]]:
    for start in range(0, len(x), size):
        where = slice(start, min(start + size, len(x)))
        yield x[where], where


def _smallest(x: Tensor) -> Tensor:
    """Of the numbers above zero; infinite if there are none."""
    return x.masked_fill(x == 0, math.inf).amin()


def _rms(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x)
    return norm / math.sqrt(x.numel())


def _mean_square(x: Tensor, axis: int) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(x, dim=axis, keepdim=True)
    return norms.square() / x.shape[axis]
