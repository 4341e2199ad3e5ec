"""The command line: `train`, its twin `lm-train`, and `python -m lm_train`.

Exit codes: 0 done (also when the reader of a pipe has gone), 75 stopped and resumable, 2 the user's input, 1 a fault. torch is imported only once there is something to train.
Each command parses to an action, a function of the stop signal that gives an exit code; `main` runs it and turns errors into messages.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TextIO

from cyclopts import App, Parameter

from lm_train.command_types import SETTINGS, Action, Config, Files
from lm_train.config import TrainConfig
from lm_train.config_file import to_toml
from lm_train.errors import ConfigError
from lm_train.exact import exactly
from lm_train.explain import EXIT_FAULT, explain
from lm_train.layers import ALL_COMMANDS, normalized, sources
from lm_train.own_command import own_command
from lm_train.parallel.launcher import EXIT_STOPPED, check_restarts, exit_when_stopped, is_follower
from lm_train.parallel.simulate_command import simulate_command
from lm_train.plan_command import plan_command
from lm_train.prepare_command import prepare_command
from lm_train.run_errors import LeaderError, RunError
from lm_train.short_help import HELP_ALL, ShortHelp, default_shown, settings
from lm_train.signals import Stop, Stopped
from lm_train.studies.study_commands import compare_command, lr_command, sweep_command
from lm_train.view.closing import closing_lines
from lm_train.view.watch_command import watch_command

EXIT_DONE = 0
# What the first of several processes answers without training.
_ANSWERED_AT_ONCE = {"--help", "-h", HELP_ALL, "--version", "--print-config"}

_WITH_SETTINGS = {"plan", "simulate", "lr", "compare", "sweep"}  # commands that take the settings of a run
_SHORT = f"All {len(settings())} settings: --help-all. Where they can stand: a flag, LM_* in the environment, a file (--config)."
_WHOLE = (
    "Any option can stand in a file (a dot is a table: [optim] lr = 0.001) or in the environment (--optim.lr: LM_OPTIM_LR). "
    "A flag goes before the environment, that before files, later files before earlier ones."
)

app = App(
    name="train",
    help="Trains a language model; with no argument, on Python's own library for a minute.",
    version=version("lm-train"),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    default_parameter=Parameter(converter=exactly, show_default=default_shown),
)
app.command(prepare_command, name="prepare")
app.command(plan_command, name="plan")
app.command(simulate_command, name="simulate")
app.command(lr_command, name="lr")
app.command(compare_command, name="compare")
app.command(sweep_command, name="sweep")
app.command(watch_command, name="watch")


@app.default
def train_command(
    *,
    config: Files = (),
    resume: Annotated[str | None, Parameter(group=SETTINGS)] = None,
    print_config: Annotated[bool, Parameter(group=SETTINGS, negative=())] = False,
    settings: Config = TrainConfig(),  # noqa: B008
) -> Action:
    """Train a model; a new run, or one that was stopped.

    Parameters
    ----------
    config
        A settings file (.toml, .yaml) or a recipe by name; may be given several times.
    resume
        Continue a run: its folder, or nothing for the newest one that was stopped.
    print_config
        Print all settings as TOML, for --config, and end.
    """
    if print_config:
        whole = replace(settings, minutes=settings.budget_minutes)
        return lambda stop: _print(to_toml(whole).rstrip())
    return lambda stop: _train(settings, resume, stop)


@app.command(name="verify")
def verify_command(*path: Path) -> Action:
    """Check every byte of datasets, checkpoints and runs.

    Against what was written, of model folders too.

    Parameters
    ----------
    path
        Folders to check.
    """

    def verify(stop: Stop) -> int:
        from lm_train.verify import verify_path

        if not path:
            raise RunError("nothing to verify: name a dataset, a checkpoint or a run")
        damaged = 0
        for each in path:
            for line, sound in verify_path(each):
                _print(line, sys.stdout if sound else sys.stderr)
                damaged += not sound
        return EXIT_FAULT if damaged else EXIT_DONE

    return verify


@app.command(name="report")
def report_command(*run: Path, out: Path | None = None) -> Action:
    """Write a run's report.html, or one page of several.

    Parameters
    ----------
    run
        Run folders.
    out
        The file to write; report.html of the first run unless given, comparison.html beside it for several.
    """

    def report(stop: Stop) -> int:
        from lm_train.run_folder import RunFolder
        from lm_train.view.report import write_report

        if not run:
            raise RunError("no run to report on: name one or more run folders")
        return _print(str(write_report(*(RunFolder.open(path) for path in run), out=out)))

    return report


@app.command(name="completion")
def completion_command(shell: Literal["bash", "zsh", "fish"]) -> Action:
    """Print what a shell needs to complete words.

    bash: eval "$(train completion bash)" in ~/.bashrc. zsh: train completion zsh > _train, in a folder of $fpath.
    fish: train completion fish > ~/.config/fish/completions/train.fish

    Parameters
    ----------
    shell
        Whose script.
    """
    name = Path(sys.argv[0]).name
    known = name if name in ("train", "lm-train") else "lm-train"
    script = app.generate_completion(prog_name=known, shell=shell)
    # In bash a text may be a file's name too (--data my.txt), and a folder's name ends in a slash.
    return lambda stop: _print(script.replace("complete -F", "complete -o default -o filenames -F"))


def _share_the_cpu() -> None:
    """Let OpenMP's waiting threads sleep after some microseconds; must come before torch is imported.

    GNU's OpenMP spins far longer by default. Beside other busy programs that takes the CPU from the thread that is waited for: a step
    of the default run on two cores took 0.6 to 5 s instead of 0.45 s, and alone 0.12 to 0.15 s either way.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def _keep_the_screen() -> None:
    """The profiler's own words, written to the terminal past Python, would tear the live view; must be set before torch is imported."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # none


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit with its code."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # None where the caller has closed it
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the program; the exit code. A user's mistake becomes one message on stderr."""
    _share_the_cpu()
    _keep_the_screen()
    if is_follower():
        return _follow(list(arguments))
    stop = Stop()
    with stop.installed():
        try:
            code = _dispatch(list(arguments), stop)
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # the reader, such as `head`, has what it wanted
            return _leave(sys.stdout)
        except Stopped as reason:
            again = "the same command starts it again, with what is prepared"
            return _complain(f"\nstopped by {reason}; {again}", EXIT_STOPPED)
        except Exception as error:
            message, code = explain(error)
            if message is None:
                raise
            return _complain(message, code)


def _follow(arguments: list[str]) -> int:
    """A process after the first of several: no settings, no words; 0 once the first, which tells what there is to tell, has ended."""
    if arguments[:1] in [[command] for command in ALL_COMMANDS] or set(arguments) & _ANSWERED_AT_ONCE:
        return EXIT_DONE
    stop = Stop()
    with stop.installed():
        try:
            from lm_train.run import follow_run

            follow_run(stop)
            return EXIT_DONE
        except Stopped:
            return exit_when_stopped()
        except LeaderError:
            return EXIT_DONE
        except Exception as error:
            message, code = explain(error)
            if message is None:
                raise
            return _complain(message, code)


def _dispatch(arguments: list[str], stop: Stop) -> int:
    if arguments and not arguments[0].startswith("-") and arguments[0] not in ALL_COMMANDS:
        raise ConfigError(_no_such_command(arguments[0]))
    tokens = normalized(arguments)
    app.config = sources(tokens)
    app.help_formatter, app.help_epilogue = _help_of(tokens)
    tokens = ["--help" if token == HELP_ALL else token for token in tokens]
    try:
        action = app(tokens)
    except SystemExit:  # rich, when the reader of the help has gone
        return EXIT_DONE
    return action(stop) if callable(action) else EXIT_DONE  # --help and --version have printed themselves


def _help_of(tokens: list[str]) -> tuple[ShortHelp | None, str | None]:
    """How help is drawn, and its last words: few of the settings, or all; a command that takes none shows what it has."""
    if tokens and not tokens[0].startswith("-") and tokens[0] not in _WITH_SETTINGS:
        return None, None
    return (None, _WHOLE) if HELP_ALL in tokens else (ShortHelp(), _SHORT)


def _no_such_command(name: str) -> str:
    near = difflib.get_close_matches(name, ALL_COMMANDS, 1)
    if near:
        return f'no such command: {name}; did you mean "{near[0]}"?'
    return f"no such command: {name}; to train on it: {own_command()} --data {name}"


def _train(settings: TrainConfig, resume_from: str | None, stop: Stop) -> int:
    from lm_train.run import resume, train
    from lm_train.run_folder import newest_run
    from lm_train.view.display import Silent, open_display

    only_json = "console-json" in settings.log  # what a program reads is not mixed with what a person reads
    display = Silent() if only_json else open_display()
    try:
        if resume_from is None:
            check_restarts(named=settings.name is not None)
            waiting = newest_run(Path(settings.out))
            if waiting is not None and waiting.resumable():
                display.say(
                    f"{waiting.path} was stopped before its end; to continue it instead: {own_command()} --resume {waiting.path}"
                )
            result = train(settings, display=display, stop=stop)
        else:
            result = resume(Path(resume_from), settings, display=display, stop=stop)
    finally:
        display.close()
    closing = "\n".join(closing_lines(result, settings, stop, own_command()))
    _print(closing, sys.stderr if only_json else sys.stdout)
    return EXIT_DONE if result.status == "done" else exit_when_stopped()


def _print(text: str, stream: TextIO | None = None) -> int:
    """The last words. Their reader, such as `head`, may have gone: what was to be done is done all the same."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        _leave(stream)
    return EXIT_DONE


def _leave(stream: TextIO) -> int:
    """Nobody reads the stream any more; Python, which flushes it once more at its end, must not stumble over that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return EXIT_DONE


def _complain(text: str, code: int) -> int:
    print(text, file=sys.stderr, flush=True)
    return code
