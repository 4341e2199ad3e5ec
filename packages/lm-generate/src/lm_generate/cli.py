"""The command line: `lm-generate --prompt "def "`, `lm-generate score FILE`, `lm-generate verify FOLDER`.

Text goes to standard output as it is written, everything else to standard error. Nothing heavy is imported before
the command line has been understood, so `--help` and mistakes answer at once.

Exit codes: 0 done (also when the reader of a pipe has gone), 2 the user's input, 1 a fault, 130 interrupted with Ctrl-C.
"""

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.exceptions import UnusedCliTokensError

from lm_generate import __version__
from lm_generate.errors import LmGenerateError, SettingError
from lm_generate.kernel.native_library import PATIENCE
from lm_generate.request_log import LogName, check_log, make_record, open_log
from lm_generate.serving.command import serve
from lm_generate.terminal import commands
from lm_generate.terminal.exact import exactly
from lm_generate.terminal.given import read_bias, read_prompt, read_text
from lm_generate.terminal.open_model import open_draft, open_model
from lm_generate.terminal.short_help import HELP_ALL, SHORT, WHOLE, ShortHelp, default_shown

HELP = """Writes on from a prompt with the newest run under runs/, or any model folder.

Without a prompt, on a terminal: a dialogue; /help there tells its commands."""

app = App(
    name="lm-generate",
    help=HELP,
    version=__version__,
    help_format="plaintext",
    result_action="return_value",
    default_parameter=Parameter(converter=exactly, show_default=default_shown),
    suppress_keyboard_interrupt=False,  # `run` tells the user and gives the exit code
)
_WHAT, _HOW = Group("Prompt", sort_key=1), Group("Writing", sort_key=2)
_WHERE, _SHOW = Group("Model", sort_key=3), Group("Output", sort_key=4)


@app.default
def write(
    *,
    prompt: Annotated[
        str | None, Parameter(name=["--prompt", "-p"], group=_WHAT, allow_leading_hyphen=True)
    ] = None,
    file: Annotated[Path | None, Parameter(group=_WHAT)] = None,
    heal: Annotated[bool | None, Parameter(group=_WHAT, negative="--no-heal")] = None,
    max_tokens: Annotated[int | None, Parameter(group=_HOW)] = None,
    min_tokens: Annotated[int, Parameter(group=_HOW)] = 0,
    temperature: Annotated[float, Parameter(group=_HOW)] = 0.8,
    top_k: Annotated[int, Parameter(group=_HOW)] = 0,
    top_p: Annotated[float, Parameter(group=_HOW)] = 1.0,
    min_p: Annotated[float, Parameter(group=_HOW)] = 0.0,
    typical_p: Annotated[float, Parameter(group=_HOW)] = 1.0,
    repetition_penalty: Annotated[float, Parameter(group=_HOW)] = 1.0,
    presence_penalty: Annotated[float, Parameter(group=_HOW, allow_leading_hyphen=True)] = 0.0,
    frequency_penalty: Annotated[float, Parameter(group=_HOW, allow_leading_hyphen=True)] = 0.0,
    penalty_window: Annotated[int, Parameter(group=_HOW)] = 0,
    logit_bias: Annotated[list[str] | None, Parameter(group=_HOW, negative=())] = None,
    seed: Annotated[int | None, Parameter(group=_HOW)] = None,
    n: Annotated[int, Parameter(name=["--n", "-n"], group=_HOW)] = 1,
    stop: Annotated[list[str] | None, Parameter(group=_HOW, negative=(), allow_leading_hyphen=True)] = None,
    regex: Annotated[str | None, Parameter(group=_HOW, allow_leading_hyphen=True)] = None,
    json_schema: Annotated[Path | None, Parameter(group=_HOW)] = None,
    beams: Annotated[int | None, Parameter(group=_HOW)] = None,
    length_penalty: Annotated[float | None, Parameter(group=_HOW, allow_leading_hyphen=True)] = None,
    roll: Annotated[bool, Parameter(group=_HOW, negative=())] = False,
    model: Annotated[Path | None, Parameter(name=["--model", "-m"], group=_WHERE)] = None,
    device: Annotated[str, Parameter(group=_WHERE)] = "auto",
    dtype: Annotated[str | None, Parameter(group=_WHERE)] = None,
    draft: Annotated[str | None, Parameter(group=_WHERE)] = None,
    threads: Annotated[int | None, Parameter(group=_WHERE)] = None,
    verify: Annotated[bool, Parameter(group=_WHERE)] = True,
    echo: Annotated[bool, Parameter(group=_SHOW)] = True,
    explain: Annotated[bool, Parameter(group=_SHOW, negative=())] = False,
    json: Annotated[bool, Parameter(group=_SHOW, negative=())] = False,
    logprobs: Annotated[int | None, Parameter(group=_SHOW)] = None,
    log: Annotated[list[LogName] | None, Parameter(group=_SHOW, negative=())] = None,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], group=_SHOW, negative=())] = False,
) -> int:
    """Writes on from a prompt.

    Parameters
    ----------
    prompt
        The text to go on from; - reads standard input (one line break at its end is dropped).
    file
        Read the prompt from this file (one line break at its end is dropped).
    heal
        Write the prompt's last, perhaps unfinished token anew, as the whole text would be cut into tokens. On, but for
        --regex and --json-schema, which begin right behind the prompt.
    max_tokens
        At most so many tokens. Without it: 200, or what the model's context still holds.
    min_tokens
        No end of text before so many tokens.
    temperature
        0: always the likeliest token; below 1: safer; above 1: wilder.
    top_k
        Choose among the k likeliest tokens; 0: among all.
    top_p
        Choose among the likeliest tokens that together reach this share of the probability; 1: among all.
    min_p
        Choose among tokens at least so many times as likely as the likeliest; 0: among all.
    typical_p
        Choose among the tokens of about the expected surprise that reach this share; 1: among all.
    repetition_penalty
        Above 1: what is in the prompt or the text becomes less likely (logits divided by it); 1: off.
    presence_penalty
        Taken off the logits of what was written; 0: off.
    frequency_penalty
        Taken off the logits of what was written, once for each time; 0: off.
    penalty_window
        The penalties look at so many newest tokens; 0: at all.
    logit_bias
        ID=VALUE, added to the logit of a token; ID=-inf bans it; may be given several times.
    seed
        The same seed gives the same text; without it, a fresh one, told at the end.
    n
        So many samples, written together, each independent of the others.
    stop
        End at this text, which is not shown; may be given several times.
    regex
        The whole text must match this expression (needs the extra `constrain`).
    json_schema
        The whole text must be JSON of the schema in this file; - reads standard input (the same extra).
    beams
        Draw nothing: search for the likeliest text, following so many beginnings at once; -n shows the best n of them.
    length_penalty
        With --beams: texts are ranked by log-probability / tokens ** this; 1, the default, is the mean, 0 the sum.
    roll
        When the context is full, go on with its newer half instead of ending.
    model
        A model folder (ours or Hugging Face's), a checkpoint or a run. Without it: the newest run under runs/.
    device
        cpu, cuda, cuda:1, ...; auto: cuda if there is one.
    dtype
        Keep the weights as float32, bfloat16, float16 or int8. Without it: as in the file.
    draft
        A smaller model that guesses ahead, or "prompt": repeats of the text itself. Faster or not, the text is the same.
    threads
        CPU threads.
    verify
        Check the SHA-256 of the model's files before use.
    echo
        Show the prompt before its continuation.
    explain
        Colour each token by its probability, and tell what else could have come and what took it out.
    json
        One JSON object a line for each sample, instead of text.
    logprobs
        With --json: the log-probability of each token; with --json or --explain: so many of the likeliest at its place.
    log
        Keep a record of each text (settings, counts, times, prompt and text, cut): console-json, lines of JSON on standard
        error; wandb, which needs the extra of its name; may be given several times.
    quiet
        Nothing on standard error but errors, and what --log asks for.
    """
    talks = prompt is None and file is None
    if talks and not (sys.stdin.isatty() and sys.stdout.isatty()):
        app.help_print()
        return 0
    from lm_generate.settings import Options, check_whole, make_settings

    text = "" if talks else read_prompt(prompt, file)
    check_whole("n", n, low=1)
    if draft is not None and (n > 1 or explain or talks):
        raise SettingError("--draft is for one text: leave out -n, --explain and the dialogue")
    if beams is not None and (n > beams or draft is not None or explain or talks):
        raise SettingError(
            "--beams is for one prompt and at least -n beams: leave out --draft, --explain, the dialogue"
        )
    if length_penalty is not None and beams is None:
        raise SettingError("--length-penalty is for a beam search: give --beams as well")
    options: Options = {
        "max_tokens": max_tokens,
        "min_tokens": min_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "typical_p": typical_p,
        "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "penalty_window": penalty_window,
        "logit_bias": read_bias(logit_bias or ()),
        "seed": seed,
        "stop": tuple(stop or ()),
        "heal": regex is None and json_schema is None if heal is None else heal,
        "past_context": "roll" if roll else "error",
        "logprobs": logprobs if json else None,
        "regex": regex,
        "json_schema": None if json_schema is None else read_text(str(json_schema)),
    }
    settings = make_settings(**options)  # every mistake is told before the model is loaded
    options["seed"] = settings.seed
    check_log(log or ())
    engine = open_model(
        model, device=device, threads=threads, verify=verify, quiet=quiet, dtype=dtype,
        patience=PATIENCE if talks else 0.0,
    )  # fmt: skip
    guesses = open_draft(draft, device=device, verify=verify)
    with closing(open_log(log or (), sys.stderr)) as keep:
        if talks:
            from lm_generate.terminal.dialogue import Dialogue

            return Dialogue(engine, {**options, "seed": seed}, quiet=quiet, log=keep).run(input)

        from lm_generate.terminal.write import Wish, write_texts

        wish = Wish(
            n=n,
            beams=beams,
            length_penalty=1.0 if length_penalty is None else length_penalty,
            explain=explain,
            top=5 if logprobs is None else logprobs,
            json=json,
            echo=echo,
            quiet=quiet,
        )
        results = write_texts(engine, text, options, wish, guesses)
        keep.write(make_record(model=str(engine.folder), settings=settings, prompt=text, results=results))
    return 0


app.command(commands.score)
app.command(commands.verify)
app.command(serve)
app.command(commands.quality)
app.command(commands.export)


@app.command
def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Prints what a shell needs to complete words.

    bash: eval "$(lm-generate completion bash)" in ~/.bashrc. zsh: lm-generate completion zsh > _lm-generate, in a folder of
    $fpath. fish: lm-generate completion fish > ~/.config/fish/completions/lm-generate.fish

    Parameters
    ----------
    shell
        Whose script.
    """
    script = app.generate_completion(prog_name="lm-generate", shell=shell)
    # In bash a text may be a file's name too (score my.txt), and a folder's name ends in a slash.
    print(script.replace("complete -F", "complete -o default -o filenames -F"))
    return 0


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs the command and ends the process with its exit code."""
    share_the_cpu()
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # None where the caller has closed it
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def share_the_cpu() -> None:
    """Lets OpenMP's waiting threads sleep after some microseconds; must come before torch is imported.

    GNU's OpenMP spins far longer by default. Beside other busy programs that takes the CPU from the thread that is
    waited for: two threads wrote 3 to 6 tokens/s that way, and 28 to 34 with this (docs/speed.md).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def run(arguments: list[str]) -> int:
    """The exit code of a command line; a user's mistake is one message on standard error, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character shows "?"
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as `head`, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what is left of it is not tried again
        complain(f"the disk is full: {error}")
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except UnusedCliTokensError as error:
        words = " ".join(error.unused_tokens or [])
        return complain(
            f'"{words}" is no command and no option: write --prompt "{words}" to go on from it, or see --help'
        )
    except (CycloptsError, LmGenerateError) as error:
        return complain(str(error))
    except Exception as error:
        if is_user_error(error):
            return complain(str(error))
        raise


def _dispatch(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-"):
        app.help_formatter, app.help_epilogue = None, None  # a command behind lm-generate has few settings
    else:
        app.help_formatter, app.help_epilogue = (
            (None, WHOLE) if HELP_ALL in arguments else (ShortHelp(), SHORT)
        )
    words = ["--help" if word == HELP_ALL else word for word in arguments]
    try:
        return app(words, exit_on_error=False, print_error=False) or 0
    except SystemExit:  # rich, when the reader of the help has gone
        return 0


def complain(message: str) -> int:
    print(f"lm-generate: {message}", file=sys.stderr)
    return 2


def is_user_error(error: Exception) -> bool:
    """Whether a sibling package says that its input is wrong. Looked up late: their bases come with torch."""
    from lm_core.errors import LmCoreError
    from lm_tokenizer import TokenizerError

    return isinstance(error, LmCoreError | TokenizerError)
