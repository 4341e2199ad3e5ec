"""The dialogue of `lm-generate` on a terminal: a line is a prompt, a line that begins with / a command."""

import sys
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches

from lm_core.errors import LmCoreError
from lm_tokenizer import TokenizerError

from lm_generate.engine import Engine
from lm_generate.errors import LmGenerateError, SettingError
from lm_generate.request_log import Log, make_record
from lm_generate.results import Generation
from lm_generate.settings import Options, make_settings
from lm_generate.terminal.show import show_explained, show_figures, show_text

HELP = """A line is a prompt, and the model writes on from it; one that begins with / begins with // here.
  /again            the same prompt, another sample         /more    goes on behind the text
  /explain          the same text again, token by token     /settings   shows them
  /temperature 0.5  and so for every setting: {settings}
  /help  /quit      Ctrl-C ends a text, Ctrl-D the dialogue; the arrow keys bring back earlier lines"""

WHOLE = ("max_tokens", "min_tokens", "top_k", "penalty_window", "seed")
FRACTIONS = (
    "temperature", "top_p", "min_p", "typical_p", "repetition_penalty", "presence_penalty", "frequency_penalty"
)  # fmt: skip
MAY_BE_NONE = ("max_tokens", "seed")
SETTINGS = (*FRACTIONS, *WHOLE, "stop", "past_context")
COMMANDS = ("again", "more", "explain", "settings", "help", "quit")


class Dialogue:
    """`run` asks for lines until there are none. Keeps the settings, and the last prompt and text for /again and /more."""

    def __init__(
        self, engine: Engine, options: Options, *, quiet: bool = False, log: Log | None = None
    ) -> None:
        self.engine, self.options, self.quiet = engine, options, quiet
        self.log = log or Log(())
        self.prompt: str | None = None
        self.last: Generation | None = None

    def run(self, ask: Callable[[str], str]) -> int:
        """The exit code. `ask` shows its argument and returns a line; EOFError ends the dialogue."""
        with suppress(ImportError):
            import readline  # noqa: F401 (gives `input` its history and editing, where the system has it)
        if not self.quiet:
            print("a line is a prompt; /help tells the commands, /quit or Ctrl-D ends", file=sys.stderr)
        while True:
            try:
                line = ask("> ")
            except EOFError:
                return 0
            except KeyboardInterrupt:
                print(file=sys.stderr)
                continue
            if line.strip() == "/quit":
                return 0
            try:
                self.answer(line)
            except KeyboardInterrupt:
                print("\n[stopped]", file=sys.stderr)
            except (LmGenerateError, LmCoreError, TokenizerError) as error:
                print(error, file=sys.stderr)

    def answer(self, line: str) -> None:
        """Does what one line asks for."""
        if not line.startswith("/") or line.startswith("//"):
            if line:
                self.write(line.removeprefix("/"), row=0)
            return
        name, _, value = line[1:].partition(" ")
        name = name.strip().replace("-", "_")
        if name in SETTINGS:
            self.set(name, value)
        elif name == "help":
            print(HELP.format(settings=" ".join(SETTINGS)), file=sys.stderr)
        elif name == "settings":
            for setting in SETTINGS:
                print(f"{setting} {self.options.get(setting)!r}", file=sys.stderr)
        elif name not in COMMANDS:
            near = get_close_matches(name, [*COMMANDS, *SETTINGS], n=1)
            hint = f"did you mean /{near[0]}?" if near else "/help tells the commands"
            raise SettingError(f"there is no command /{name}; {hint}")
        elif self.prompt is None or self.last is None:
            raise SettingError(f"/{name} needs a text to begin with: type a prompt first")
        elif name == "more":
            self.write(self.prompt + self.last.text, row=0)
        else:
            self.write(self.prompt, row=self.last.row + (name == "again"), explained=name == "explain")

    def set(self, name: str, value: str) -> None:
        """Changes one setting; a bad value changes nothing and is told."""
        value = value.strip()
        parsed: float | int | str | tuple[str, ...] | None
        try:
            if name in MAY_BE_NONE and value in ("", "none"):
                parsed = None
            elif name == "stop":
                parsed = (value.replace("\\n", "\n").replace("\\t", "\t"),) if value else ()
            elif name == "past_context":
                parsed = value
            else:
                parsed = int(value) if name in WHOLE else float(value)
        except ValueError as error:
            kind = "a whole number" if name in WHOLE else "a number" if name in FRACTIONS else "a text"
            raise SettingError(f"/{name} takes {kind}, got {value!r}") from error
        changed: Options = {**self.options, name: parsed}  # type: ignore[misc]
        make_settings(**changed)
        self.options = changed

    def write(self, prompt: str, *, row: int, explained: bool = False) -> None:
        """Shows one text and remembers it. Another row of the same prompt keeps the seed of the last one."""
        options: Options = {**self.options}
        if row or explained:
            assert self.last is not None
            options["seed"] = self.last.seed
        if explained:
            told = self.engine.explain(prompt, row=row, **options)
            show_explained(told, prompt=prompt, echo=True, json=False)
            self.last = told.result
        else:
            self.last = show_text(self.engine.stream(prompt, row=row, **options), prompt=prompt, echo=True)
        self.prompt = prompt
        options["seed"] = self.last.seed
        self.log.write(
            make_record(
                model=str(self.engine.folder),
                settings=make_settings(**options),
                prompt=prompt,
                results=[self.last],
            )
        )
        if not self.quiet:
            show_figures([self.last], self.engine)
