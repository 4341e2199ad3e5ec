"""The table of `lm-generate quality`."""

import json as json_format
from collections.abc import Iterable
from dataclasses import asdict

from lm_generate.quality import Cost


def show_quality(costs: Iterable[Cost], *, json: bool) -> None:
    """A line for each way of keeping the weights, as soon as it is measured."""
    if not json:
        print(
            f"{'weights':<10}{'MB':>9}{'bits/byte':>11}{'KL, nats/token':>16}{'same choice':>13}", flush=True
        )
    for cost in costs:
        if json:
            print(json_format.dumps(asdict(cost)), flush=True)
            continue
        print(
            f"{cost.storage:<10}{cost.weight_bytes / 1e6:>9.1f}{cost.bits_per_byte:>11.5f}"
            f"{cost.divergence:>16.2e}{cost.same_choice:>12.2%}",
            flush=True,
        )
