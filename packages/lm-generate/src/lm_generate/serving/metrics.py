"""Counts and times of the server as Prometheus reads them: GET /metrics, text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections import Counter
from collections.abc import Iterator, Mapping

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Histogram:
    """How many values lie at or below each bound."""

    def __init__(self) -> None:
        self.counts = [0] * len(SECONDS)
        self.sum, self.count = 0.0, 0

    def add(self, value: float) -> None:
        self.sum += value
        self.count += 1
        for place, bound in enumerate(SECONDS):
            self.counts[place] += value <= bound

    def lines(self, name: str) -> Iterator[str]:
        for bound, count in zip(SECONDS, self.counts, strict=True):
            yield f'{name}_bucket{{le="{bound:g}"}} {count}'
        yield f'{name}_bucket{{le="+Inf"}} {self.count}'
        yield f"{name}_sum {self.sum!r}"
        yield f"{name}_count {self.count}"


class Metrics:
    """Changed by the event loop only."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        """By route and status."""
        self.left = 0
        """Clients that went away before their answer was whole, or did not read it."""
        self.prompt_tokens = self.written_tokens = self.scored_tokens = 0
        self.first_token, self.total = Histogram(), Histogram()

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """`gauges`: what is so just now, name to (help, value)."""
        counters = {
            "client_left_total": ("Clients gone before the end of their answer", self.left),
            "prompt_tokens_total": ("Prompt tokens of the requests that were answered", self.prompt_tokens),
            "written_tokens_total": ("Tokens written", self.written_tokens),
            "scored_tokens_total": ("Tokens scored", self.scored_tokens),
        }
        lines: list[str] = []
        lines += header("requests_total", "Answers by route and status", "counter")
        for (route, status), count in sorted(self.answers.items()):
            lines.append(f'lm_generate_requests_total{{route="{route}",status="{status}"}} {count}')
        for sort, values in (("counter", counters), ("gauge", gauges)):
            for name, (told, value) in values.items():
                lines += [*header(name, told, sort), f"lm_generate_{name} {value}"]
        for name, told, histogram in (
            ("first_token_seconds", "From a request to the first token of a text", self.first_token),
            ("text_seconds", "From a request to the end of a text", self.total),
        ):
            lines += [*header(name, told, "histogram"), *histogram.lines(f"lm_generate_{name}")]
        return "\n".join(lines) + "\n"


def header(name: str, told: str, sort: str) -> list[str]:
    return [f"# HELP lm_generate_{name} {told}.", f"# TYPE lm_generate_{name} {sort}"]
