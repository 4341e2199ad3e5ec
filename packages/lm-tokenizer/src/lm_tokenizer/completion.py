"""What a shell needs to complete the words of `lm-tokenizer`, made from the parser's own usage lines."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping

_BASH = """\
_lm_tokenizer() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
  case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
{choices}
    *) [[ $word == -* ]] && case "${{COMP_WORDS[1]}}" in
{flags}
      esac ;;
  esac
  (( COMP_CWORD == 1 )) && words="{commands}"
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _lm_tokenizer lm-tokenizer
"""
_ZSH = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n"


def completion_script(commands: Mapping[str, argparse.ArgumentParser], shell: str) -> str:
    """The script for bash, zsh (through its bashcompinit) or fish. Where nothing of ours fits, the shell offers files."""
    usage = {name: parser.format_usage() for name, parser in commands.items()}
    flags = {name: re.findall(r"(?<=[\[ ])--?[a-z-]+", line) for name, line in usage.items()}
    choices = {
        (name, flag): " ".join(values.split(","))
        for name, line in usage.items()
        for flag, values in re.findall(r"(--[a-z-]+)\s+\{([^}]+)\}", line)
    }
    if shell == "fish":
        lines = [f'complete -c lm-tokenizer -n __fish_use_subcommand -f -a "{" ".join(commands)}"']
        for name, found in flags.items():
            for flag in [each for each in found if each.startswith("--")]:
                values = choices.get((name, flag))
                offered = f' -x -a "{values}"' if values else ""
                lines.append(
                    f'complete -c lm-tokenizer -n "__fish_seen_subcommand_from {name}" -l {flag[2:]}{offered}'
                )
        return "\n".join(lines) + "\n"
    script = _BASH.format(
        choices="\n".join(
            f'    "{name} {flag}") words="{values}" ;;' for (name, flag), values in choices.items()
        ),
        flags="\n".join(f'        {name}) words="{" ".join(found)}" ;;' for name, found in flags.items()),
        commands=" ".join(commands),
    )
    return _ZSH + script if shell == "zsh" else script
