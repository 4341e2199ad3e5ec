"""The command `prepare`: what it takes, and what it says."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from lm_train.command_types import Action
from lm_train.errors import ConfigError
from lm_train.own_command import own_command
from lm_train.signals import Stop
from lm_train.texts.text_files import SEPARATOR
from lm_train.view.display import count


def prepare_command(
    *text: str,
    out: str | None = None,
    tokenizer: str = "bpe",
    vocab_size: int = 4096,
    valid: str | None = None,
    valid_share: float = 0.05,
    field: str = "text",
    separator: str = SEPARATOR,
    end_of_text: str | None = None,
    seed: int = 0,
    replace: Annotated[bool, Parameter(negative=())] = False,
    engine: Literal["here", "ray"] = "here",
    address: str = "auto",
) -> Action:
    """Make a token dataset from text.

    The text: files, folders, globs, named texts, or - for standard input.

    Parameters
    ----------
    text
        What to read.
    out
        The dataset's folder; datasets/NAME-VOCABULARY unless given.
    tokenizer
        bpe (trained on the text), characters, or a tokenizer.json.
    vocab_size
        Tokens of a tokenizer that is trained here.
    valid
        Text to hold out, instead of a share of the other.
    valid_share
        Share of the text to hold out.
    field
        Where the text is in a line of .jsonl.
    separator
        What stands between documents in a text file, a line end in it written as \\n. "": each file is one document.
    end_of_text
        The special token to put after each document, <|endoftext|> unless given; "": none.
    seed
        Decides which documents are held out.
    replace
        Put the dataset in the place of another one.
    engine
        Who counts words and encodes: this machine's processors, or a Ray cluster's (docs/many-machines.md).
    address
        Of the Ray cluster; auto: the one that was started on this machine.
    """

    def prepare_dataset(stop: Stop) -> int:
        from lm_train import corpus
        from lm_train.dataset import TokenDataset
        from lm_train.prepare import prepare
        from lm_train.tokens.on_ray import RayEngine
        from lm_train.view.display import open_display

        if not text:
            raise ConfigError(
                f"no text to prepare: name files, folders or a text, as in {own_command()} prepare stdlib"
            )
        chosen = corpus.named_tokenizer(tokenizer)

        def make(folder: Path) -> TokenDataset:
            return prepare(
                list(text),
                folder,
                tokenizer=chosen,
                vocab_size=vocab_size,
                end_of_text=corpus.document_end(chosen) if end_of_text is None else end_of_text or None,
                valid=valid,
                valid_share=valid_share,
                field=field,
                separator=separator.replace("\\n", "\n") or None,
                seed=seed,
                replace=replace,
                progress=display.preparing,
                engine=workers,
            )

        automatic = Path("datasets") / corpus.dataset_name(text, chosen or vocab_size)
        may_try_others = out is None and not replace and corpus.STANDARD_INPUT not in text
        display = open_display()
        with ExitStack() as cleanup:
            cleanup.callback(display.close)
            workers = cleanup.enter_context(RayEngine(address)) if engine == "ray" else None
            data = (
                corpus.into_free_folder(automatic, make) if may_try_others else make(Path(out or automatic))
            )
        held_out = count(data.tokens("valid")) if "valid" in data.splits else "0"
        print(
            f"{data.folder}: {count(data.tokens())} tokens to train on, {held_out} held out, vocabulary {data.vocab_size:,}\n"
            f"train on it: {own_command()} --data {data.folder}",
            flush=True,
        )
        return 0

    return prepare_dataset
