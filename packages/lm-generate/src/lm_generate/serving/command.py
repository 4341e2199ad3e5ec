"""`lm-generate serve`: the command line of the server. Imports neither torch nor the server before it is asked to serve."""

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from lm_generate.errors import SettingError
from lm_generate.kernel.native_library import LONG_PATIENCE
from lm_generate.request_log import LogName, check_log, open_log
from lm_generate.runs import newest_run
from lm_generate.terminal.open_model import open_model

if TYPE_CHECKING:
    from lm_generate.engine import Engine

TOKEN_VARIABLE = "LM_GENERATE_TOKEN"
EXTRA = ("starlette", "uvicorn")
_MODEL, _WHERE, _LIMITS = Group("Model", sort_key=1), Group("Server", sort_key=2), Group("Limits", sort_key=3)


def serve(
    *,
    model: Annotated[list[Path] | None, Parameter(name=["--model", "-m"], group=_MODEL, negative=())] = None,
    device: Annotated[str, Parameter(group=_MODEL)] = "auto",
    dtype: Annotated[str | None, Parameter(group=_MODEL)] = None,
    threads: Annotated[int | None, Parameter(group=_MODEL)] = None,
    verify: Annotated[bool, Parameter(group=_MODEL)] = True,
    host: Annotated[str, Parameter(group=_WHERE)] = "127.0.0.1",
    port: Annotated[int, Parameter(group=_WHERE)] = 8000,
    token_file: Annotated[Path | None, Parameter(group=_WHERE)] = None,
    log: Annotated[list[LogName] | None, Parameter(group=_WHERE, negative=())] = None,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], group=_WHERE, negative=())] = False,
    slots: Annotated[int, Parameter(group=_LIMITS)] = 16,
    requests: Annotated[int, Parameter(group=_LIMITS)] = 64,
    loaded: Annotated[int, Parameter(group=_LIMITS)] = 4,
    max_tokens: Annotated[int, Parameter(group=_LIMITS)] = 4096,
    request_seconds: Annotated[float, Parameter(group=_LIMITS)] = 600.0,
    grace_seconds: Annotated[float, Parameter(group=_LIMITS)] = 20.0,
) -> int:
    """Opens models to programs (OpenAI's API) and on a page.

    Parameters
    ----------
    model
        A model folder, a checkpoint, or a run, which stands for all its checkpoints; may be given several times.
        Without it: the newest run under runs/. The first is loaded at once, others when they are asked for.
    device
        cpu, cuda, cuda:1, ...; auto: cuda if there is one.
    dtype
        Keep the weights as float32, bfloat16, float16 or int8. Without it: as in the file.
    threads
        CPU threads.
    verify
        Check the SHA-256 of each model's files before use.
    host
        The address to listen on. One that other machines can reach needs a token.
    port
        0 takes a free one, which is told.
    token_file
        A file with the token that every request must bring (or environment LM_GENERATE_TOKEN).
    log
        A record of each completion, with its prompt and text, cut: console-json, lines of JSON on standard output;
        wandb, which needs the extra of its name; may be given several times.
    quiet
        Nothing on standard error but errors.
    slots
        Texts written at once, for each model; further ones wait for their turn.
    requests
        Requests being answered; one more is told to come again (429).
    loaded
        Models in memory.
    max_tokens
        Tokens of one text.
    request_seconds
        Time for one answer.
    grace_seconds
        On Ctrl-C or SIGTERM: time for the requests under way to end.
    """
    require_extra()
    check_log(log or ())
    token = read_token(token_file)
    from lm_generate.serving.limits import Limits

    limits = Limits(
        slots=slots,
        requests=requests,
        loaded=loaded,
        max_tokens=max_tokens,
        request_seconds=request_seconds,
        grace_seconds=grace_seconds,
    )
    from lm_generate.serving.server import bind, check_access, make_server

    check_access(host, token)
    sources = model or [newest_run()]
    listening = bind(host, port)
    with listening, closing(open_log(log or (), sys.stdout)) as keep:
        from lm_generate.serving.service import Service
        from lm_generate.serving.shelf import Shelf

        shelf = Shelf(sources, Opener(device, dtype, threads, verify, quiet), most=loaded)
        shelf.load_first()
        service = Service(shelf, limits, record=keep.write if log else None)
        server = make_server(service, host, token=token)
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"

        def ready() -> None:
            if not quiet:
                names = list(shelf.folders())
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                print(f"serving {names[0]}{more}, {slots} texts at once", file=sys.stderr)
                print(f"page: {address}/   API: {address}/v1   Ctrl-C ends it", file=sys.stderr, flush=True)

        server.on_ready = ready
        server.run(sockets=[listening])
    if not quiet:
        print("stopped", file=sys.stderr)
    return 0


class Opener:
    """Loads a folder's model as the command line says, and tells it in a line."""

    def __init__(
        self, device: str, dtype: str | None, threads: int | None, verify: bool, quiet: bool
    ) -> None:
        self.device, self.dtype, self.threads = device, dtype, threads
        self.verify, self.quiet = verify, quiet

    def __call__(self, folder: Path) -> "Engine":
        return open_model(
            folder,
            device=self.device,
            dtype=self.dtype,
            threads=self.threads,
            verify=self.verify,
            quiet=self.quiet,
            patience=LONG_PATIENCE,
        )


def require_extra() -> None:
    """Raises `SettingError` where the server's libraries are not installed."""
    from importlib.util import find_spec

    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise SettingError(
            f"serve needs {' and '.join(missing)}, which the extra brings: pip install 'lm-generate[serve]'"
        )


def read_token(path: Path | None) -> str | None:
    """The token of the file, else of the environment; never of the command line, which every user of a machine sees."""
    if path is None:
        token = os.environ.get(TOKEN_VARIABLE, "")
        if not token:
            return None
    else:
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"cannot read the token file {path}: {error}") from error
        if not token:
            raise SettingError(f"the token file {path} is empty: write a long random word into it")
    if not (token.isascii() and token.isprintable() and " " not in token):  # as HTTP's headers have it
        raise SettingError(
            "the token must be one word of ASCII characters, such as `openssl rand -hex 32` makes"
        )
    return token
