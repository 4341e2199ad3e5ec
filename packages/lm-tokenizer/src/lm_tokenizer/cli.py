"""The command `lm-tokenizer`: train, encode, decode, count, show, compare, convert, completion.

Exit codes: 0 done; 2 what the user gave cannot be used (one line says why); 1 a fault of ours; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lm_tokenizer import PATTERN_NAMES, TokenizerError, __version__
from lm_tokenizer.commands import (
    run_compare,
    run_convert,
    run_count,
    run_decode,
    run_encode,
    run_show,
    run_train,
)
from lm_tokenizer.completion import completion_script

EPILOG = """\
examples:
  lm-tokenizer train books/*.txt --vocab-size 8000 -o tokenizer.json
  lm-tokenizer encode corpus.txt -o corpus.bin --separator '<|endoftext|>' --append '<|endoftext|>' -t tokenizer.json
  echo 'Hello there' | lm-tokenizer show -t tokenizer.json
  lm-tokenizer convert cl100k_base.tiktoken tokenizer.json --pattern cl100k
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the console script's entry."""
    parser = make_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        near = difflib.get_close_matches(unknown[0], options.known, 1)
        parser.error(
            f"{options.command} takes no {unknown[0]}; "
            + (f"did you mean {near[0]}?" if near else f"see lm-tokenizer {options.command} --help")
        )
    try:
        run: Callable[[argparse.Namespace], None] = options.run
        run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (TokenizerError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.strerror is not None:  # without the system's number
            text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
        print(f"lm-tokenizer {options.command}: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="lm-tokenizer",
        description="Byte-level BPE tokenizers: train one, turn text into ids and back, look at tokens, convert files.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lm-tokenizer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="learn a tokenizer from text files")
    train.add_argument("files", nargs="+", metavar="FILE", help="text to learn from; - is standard input")
    train.add_argument("--field", metavar="NAME", help="files are JSON lines with the text in this field")
    train.add_argument("-o", "--output", required=True, help="tokenizer.json to write, or an existing folder")
    train.add_argument(
        "--vocab-size", type=int, default=32_000, metavar="N", help="ids in all (default: 32000)"
    )
    train.add_argument(
        "--start", metavar="PATH", help="go on from this tokenizer.json: its ids stay, new ones come behind"
    )
    add_pattern(train)
    train.add_argument(
        "--special",
        action="append",
        metavar="TOKEN",
        help="a special token, cut out of the text; may be repeated (default: <|endoftext|>, or those of --start)",
    )
    add_special_file(train)
    train.add_argument(
        "--tie-break",
        choices=["huggingface", "ids", "greatest"],
        default="huggingface",
        help="which of equally frequent pairs is first (default: huggingface)",
    )
    train.add_argument("--min-frequency", type=int, default=1, metavar="N", help="rarer pairs are not merged")
    train.set_defaults(run=run_train, pattern=None)

    encode = commands.add_parser(
        "encode", help="text to ids: one line of ids, or a raw file of u16 or u32 with -o"
    )
    encode.add_argument(
        "files", nargs="*", default=["-"], metavar="FILE", help="text; - is standard input (default)"
    )
    add_tokenizer(encode)
    encode.add_argument("-o", "--output", help="raw file of ids to write, little-endian, no header")
    encode.add_argument(
        "--shards", metavar="FOLDER", help="a raw file for each source; those that are there already are kept"
    )
    encode.add_argument("--dtype", choices=["uint16", "uint32"], help="default: the smaller one that fits")
    encode.add_argument(
        "--separator", metavar="TEXT", help="text between documents; it is cut out (only for raw files)"
    )
    encode.add_argument(
        "--field",
        metavar="NAME",
        help="files are JSON lines with a document in this field (only for raw files)",
    )
    encode.add_argument(
        "--append", metavar="TOKEN", help="special token to add after each document (only for raw files)"
    )
    encode.add_argument(
        "--ends", metavar="FILE", help="write where each document ends, as u64 (only with -o)"
    )
    add_allow_special(encode)
    encode.set_defaults(run=run_encode)

    decode = commands.add_parser("decode", help="ids to text: numbers divided by white space, or a raw file")
    decode.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="ids; - is standard input (default)"
    )
    decode.add_argument(
        "--dtype", choices=["uint16", "uint32"], help="FILE is raw ids of this type, not numbers"
    )
    add_tokenizer(decode)
    decode.set_defaults(run=run_decode)

    count = commands.add_parser("count", help="how many ids texts have")
    count.add_argument(
        "files", nargs="*", default=["-"], metavar="FILE", help="text; - is standard input (default)"
    )
    add_tokenizer(count)
    add_allow_special(count)
    count.set_defaults(run=run_count)

    show = commands.add_parser("show", help="the tokens of a text, in colour, or facts about a tokenizer")
    show.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="text; - is standard input (default)"
    )
    show.add_argument("--text", help="show this text instead of a file's")
    show.add_argument("--ids", action="store_true", help="one token a line, with its id")
    show.add_argument("--html", action="store_true", help="a page of HTML, with ids under the pointer")
    show.add_argument(
        "--info", action="store_true", help="show the tokenizer: sizes, pattern, special tokens"
    )
    show.add_argument(
        "--colour", choices=["auto", "always", "never"], default="auto", help="default: on a terminal"
    )
    add_tokenizer(show)
    show.set_defaults(run=run_show)

    both = commands.add_parser("compare", help="two tokenizers on one text: how many ids, where they differ")
    both.add_argument("first", help="tokenizer.json, or a folder that holds one")
    both.add_argument("second", help="another")
    both.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="text; - is standard input (default)"
    )
    both.add_argument("--text", help="compare on this text instead of a file's")
    both.add_argument("--most", type=int, default=10, metavar="N", help="differences to show (default: 10)")
    both.set_defaults(run=run_compare)

    convert = commands.add_parser("convert", help="from one file format to another")
    convert.add_argument(
        "source",
        help="tokenizer.json, its folder, a .tiktoken file, or a folder with vocab.json and merges.txt",
    )
    convert.add_argument("target", help="*.json, *.tiktoken, or a folder")
    convert.add_argument(
        "--to", choices=["json", "tiktoken", "vocab-merges"], help="default: by the target's name"
    )
    add_pattern(convert)
    convert.add_argument(
        "--special",
        action="append",
        default=[],
        metavar="TOKEN[=ID]",
        help="special token; the source names none",
    )
    add_special_file(convert)
    convert.set_defaults(run=run_convert)

    shells = commands.add_parser("completion", help="what a shell needs to complete these words")
    shells.add_argument("shell", choices=["bash", "zsh", "fish"], help="whose script")
    shells.set_defaults(run=lambda options: print(completion_script(commands.choices, options.shell), end=""))
    for command in commands.choices.values():
        command.set_defaults(known=re.findall(r"--[a-z-]+", command.format_usage()))
    return parser


def add_tokenizer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-t", "--tokenizer", required=True, metavar="PATH", help="tokenizer.json, or a folder that holds one"
    )


def add_pattern(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pattern",
        choices=PATTERN_NAMES,
        default="gpt2",
        help="how text is cut before merging (default: gpt2)",
    )


def add_special_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--special-file",
        dest="special",
        action="extend",
        type=lines_of,
        metavar="FILE",
        help="the same from a file, one a line",
    )


def lines_of(path: str) -> list[str]:
    """The lines of a file that are not empty; an error that argparse tells where there are none."""
    try:
        lines = Path(path).read_bytes().decode().split("\n")
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(
            f"{path}: not UTF-8 text at byte {error.start}; convert it to UTF-8"
        ) from None
    kept = [line.removesuffix("\r") for line in lines if line.removesuffix("\r")]
    if not kept:
        raise argparse.ArgumentTypeError(f"{path}: no token in it; wanted one a line")
    return kept


def add_allow_special(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--special",
        choices=["ordinary", "allow", "refuse"],
        default="ordinary",
        help="special tokens in the text: ordinary text (default), themselves, or an error",
    )


if __name__ == "__main__":
    sys.exit(main())
