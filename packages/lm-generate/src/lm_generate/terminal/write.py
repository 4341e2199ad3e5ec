"""The texts that one command asks for: written, shown, and given back for the log."""

from collections.abc import Sequence
from dataclasses import dataclass

from lm_generate.engine import Draft, Engine
from lm_generate.results import Generation
from lm_generate.settings import Options
from lm_generate.terminal import show


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How many texts, how they are found, and how they are shown."""

    n: int
    beams: int | None
    length_penalty: float
    explain: bool
    top: int
    """Alternatives of each token, beside an account."""
    json: bool
    echo: bool
    quiet: bool


def write_texts(
    engine: Engine, prompt: str, options: Options, wish: Wish, draft: Draft
) -> Sequence[Generation]:
    """Writes and shows them; each on standard output, their figures on standard error."""
    if wish.beams is not None:
        found = engine.beam_search(prompt, beams=wish.beams, length_penalty=wish.length_penalty, **options)[
            : wish.n
        ]
        show.show_beams(found, wish.beams, prompt=prompt, echo=wish.echo, json=wish.json, quiet=wish.quiet)
        return [text.result for text in found]
    results: list[Generation] = []
    if wish.explain:
        for row in range(wish.n):
            told = engine.explain(prompt, top=wish.top, row=row, **options)
            show.show_explained(told, prompt=prompt, echo=wish.echo, json=wish.json)
            results.append(told.result)
    elif wish.n == 1 and not wish.json:
        results = [
            show.show_text(engine.stream(prompt, draft=draft, **options), prompt=prompt, echo=wish.echo)
        ]
    elif wish.n == 1:
        results = [engine.generate(prompt, draft=draft, **options)]
        show.show_json(results[0], prompt=prompt, echo=wish.echo)
    else:
        results = engine.batch([prompt] * wish.n, **options)
        if wish.json:
            for result in results:
                show.show_json(result, prompt=prompt, echo=wish.echo)
        else:
            show.show_rows(results, prompt=prompt, echo=wish.echo)
    if not wish.quiet:
        show.show_figures(results, engine)
    return results
