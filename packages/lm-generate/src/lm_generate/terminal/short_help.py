"""`--help` fits a screen: of forty settings those that most people need. `--help-all` shows every one."""

from typing import TYPE_CHECKING

from cyclopts.help import DefaultFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

HELP_ALL = "--help-all"
SHORT = "Every setting: --help-all."
WHOLE = """A token is chosen in this order: bias, penalties, temperature, top-k, top-p, min-p, typical, then one draw from what is left; of
equally likely tokens the lower id comes first. Temperature 0 takes the likeliest token. The same seed gives the same text."""
_LEFT_OUT = {
    "--heal", "--min-tokens", "--top-k", "--min-p", "--typical-p", "--repetition-penalty", "--presence-penalty",
    "--frequency-penalty", "--penalty-window", "--logit-bias", "--regex", "--json-schema", "--beams", "--length-penalty",
    "--roll", "--device", "--dtype", "--draft", "--threads", "--verify", "--echo", "--logprobs", "--log", "--quiet",
}  # fmt: skip


def default_shown(default: object) -> str | None:
    """A default that tells something: not that a switch is off and a list empty."""
    return None if default is None or default is False or default == () else str(default) or '""'


class ShortHelp(DefaultFormatter):
    """cyclopts' own boxes, without the settings that few people need."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        entries = [entry for entry in panel.entries if not _LEFT_OUT & set(entry.names)]
        if entries:
            super().__call__(console, options, panel.copy(entries=entries))
