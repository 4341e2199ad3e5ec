"""What each command of `lm-tokenizer` does with its parsed options."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lm_tokenizer import Progress, Tokenizer, TokenizerError
from lm_tokenizer.compare import as_report, compare
from lm_tokenizer.show import as_html, as_running_text, as_table
from lm_tokenizer.types import AllOrSome


def run_train(options: argparse.Namespace) -> None:
    folder = Path(options.output).parent
    if not (folder.is_dir() and os.access(folder, os.W_OK)):  # told now, not when the work is done
        raise TokenizerError(
            f"{options.output}: there is no folder {folder} that can be written to; make it, or name another"
        )
    if options.start is None:
        tokenizer = Tokenizer.train(
            files=options.files,
            field=options.field,
            vocab_size=options.vocab_size,
            pattern=options.pattern or "gpt2",
            special_tokens=options.special or ["<|endoftext|>"],
            tie_break=options.tie_break,
            min_frequency=options.min_frequency,
            progress=progress_line(),
        )
    else:
        if options.pattern is not None:
            raise TokenizerError("--start has a pattern already; leave --pattern out")
        tokenizer = Tokenizer.load(options.start).train_further(
            files=options.files,
            field=options.field,
            vocab_size=options.vocab_size,
            special_tokens=options.special or [],
            tie_break=options.tie_break,
            min_frequency=options.min_frequency,
            progress=progress_line(),
        )
    tokenizer.save(options.output)
    say(f"{options.output}: {tokenizer.vocab_size} ids, fingerprint {tokenizer.fingerprint[:16]}")
    if tokenizer.vocab_size < options.vocab_size:
        say(
            f"fewer than the {options.vocab_size} asked for: no pair of tokens was left to merge in this text"
        )


def run_encode(options: argparse.Namespace) -> None:
    tokenizer = Tokenizer.load(options.tokenizer)
    if options.shards is not None:
        run_shards(options, tokenizer)
        return
    if options.output is None:
        wanting = [
            name
            for name in ("dtype", "separator", "field", "append", "ends")
            if getattr(options, name) is not None
        ]
        if wanting:
            raise TokenizerError(f"--{wanting[0]} is about a file of ids; name that file with -o")
        allowed, disallowed = special_policy(options)
        for file in options.files:
            print(*tokenizer.encode(read_text(file), allowed_special=allowed, disallowed_special=disallowed))
        return
    if options.special != "ordinary":
        raise TokenizerError(
            "a file of ids takes text as ordinary text; --special is for ids that are printed"
        )
    written = tokenizer.encode_file(
        options.files,
        options.output,
        dtype=options.dtype,
        separator=options.separator,
        field=options.field,
        append=options.append,
        ends=options.ends,
        progress=progress_line(),
    )
    say(
        f"{written.target}: {written.tokens} ids as {written.dtype}, {written.documents} documents, {written.bytes} bytes"
    )
    say(f"sha256 {written.sha256}")


def run_shards(options: argparse.Namespace, tokenizer: Tokenizer) -> None:
    if options.output is not None or options.ends is not None or options.special != "ordinary":
        raise TokenizerError(
            "--shards writes a file of ids for each source; leave -o, --ends and --special out"
        )
    shards = tokenizer.encode_shards(
        options.files,
        options.shards,
        dtype=options.dtype,
        separator=options.separator,
        field=options.field,
        append=options.append,
        progress=progress_line(),
    )
    tokens, documents = (sum(getattr(shard, fact) for shard in shards) for fact in ("tokens", "documents"))
    say(f"{options.shards}: {len(shards)} shards, {tokens} ids as {shards[0].dtype}, {documents} documents")


def run_decode(options: argparse.Namespace) -> None:
    tokenizer = Tokenizer.load(options.tokenizer)
    if options.dtype is None:
        words = read_text(options.file).replace(",", " ").replace("[", " ").replace("]", " ").split()
        wrong = next((word for word in words if not word.isdecimal()), None)
        if wrong is not None:
            raise TokenizerError(
                f"{wrong!r} is not an id; ids are numbers divided by white space (or give --dtype)"
            )
        data = tokenizer.decode_bytes([int(word) for word in words])
        sys.stdout.buffer.write(data)
        return
    import numpy as np

    raw = read_bytes(options.file)
    width = np.dtype(options.dtype).itemsize
    if len(raw) % width:
        raise TokenizerError(
            f"{options.file}: {len(raw)} bytes are no whole number of {options.dtype}; name the dtype that it was written with"
        )
    ids = np.frombuffer(raw, dtype=np.dtype(options.dtype).newbyteorder("<")).astype(np.uint32)
    sys.stdout.buffer.write(tokenizer.decode_bytes(ids))


def run_count(options: argparse.Namespace) -> None:
    tokenizer = Tokenizer.load(options.tokenizer)
    allowed, disallowed = special_policy(options)
    total = 0
    for file in options.files:
        count = tokenizer.count(read_text(file), allowed_special=allowed, disallowed_special=disallowed)
        total += count
        print(count if len(options.files) == 1 else f"{count:>12}  {file}")
    if len(options.files) > 1:
        print(f"{total:>12}  total")


def run_show(options: argparse.Namespace) -> None:
    tokenizer = Tokenizer.load(options.tokenizer)
    if options.info:
        print(info(tokenizer))
        return
    text = options.text if options.text is not None else read_text(options.file)
    ids = tokenizer.encode(text, allowed_special="all")
    vocab = tokenizer.vocab
    if options.html:
        print(as_html((id, vocab[id]) for id in ids), end="")
        return
    colour = in_colour(options.colour)
    if options.ids:
        print(as_table(((id, vocab[id]) for id in ids), colour=colour))
        return
    print(as_running_text((vocab[id] for id in ids), colour=colour).rstrip("\n"))
    size = len(text.encode())
    print(f"{len(ids)} ids, {size} bytes, {size / max(len(ids), 1):.2f} bytes an id")


def info(tokenizer: Tokenizer) -> str:
    """A few lines about a tokenizer."""
    longest = max(tokenizer.vocab.values(), key=len, default=b"")
    special = "\n".join(f"               {id:>7}  {token}" for token, id in tokenizer.special_tokens.items())
    return (
        f"ids            {tokenizer.vocab_size}\n"
        f"merges         {len(tokenizer.merges)}\n"
        f"pattern        {tokenizer.pattern or 'none: one id a character'}\n"
        f"longest token  {longest!r} ({len(longest)} bytes)\n"
        f"fingerprint    {tokenizer.fingerprint}\n"
        f"special tokens {len(tokenizer.special_tokens)}\n{special}"
    ).rstrip()


def run_convert(options: argparse.Namespace) -> None:
    source, target = Path(options.source), Path(options.target)
    special: dict[str, int] = {}
    for named in options.special:
        token, equals, id = named.rpartition("=")
        if equals and id.isdecimal():
            special[token] = int(id)
    unnumbered = [named for named in options.special if named.rpartition("=")[0] not in special]
    if special and unnumbered:
        raise TokenizerError("give an id to every special token (TOKEN=ID) or to none")
    if source.suffix == ".tiktoken":
        tokenizer = Tokenizer.load_tiktoken(source, options.pattern, special or unnumbered)
    elif (source / "merges.txt").is_file() and not (source / "tokenizer.json").is_file():
        if special:
            raise TokenizerError("vocab.json has the ids of special tokens; give only their names")
        files = source / "vocab.json", source / "merges.txt"
        tokenizer = Tokenizer.load_vocab_merges(*files, options.pattern, unnumbered)
    else:
        if options.special:
            raise TokenizerError("tokenizer.json names its special tokens itself; leave --special out")
        tokenizer = Tokenizer.load(source)
    kind = options.to or ("tiktoken" if target.suffix == ".tiktoken" else "json")
    if kind == "tiktoken":
        tokenizer.save_tiktoken(target)
    elif kind == "vocab-merges":
        tokenizer.save_vocab_merges(target)
    else:
        tokenizer.save(target)
    say(f"{target}: {tokenizer.vocab_size} ids, fingerprint {tokenizer.fingerprint[:16]}")


def run_compare(options: argparse.Namespace) -> None:
    names = options.first, options.second
    first, second = map(Tokenizer.load, names)
    text = options.text if options.text is not None else read_text(options.file)
    print(as_report(names, compare(first, second, text), options.most))


def special_policy(options: argparse.Namespace) -> tuple[AllOrSome, AllOrSome]:
    """What `--special` means: the allowed special tokens, and the disallowed ones."""
    if options.special == "allow":
        return "all", ()
    return (), ("all" if options.special == "refuse" else ())


def read_bytes(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def read_text(file: str) -> str:
    try:
        return read_bytes(file).decode()
    except UnicodeDecodeError as error:
        name = "standard input" if file == "-" else file
        raise TokenizerError(f"{name}: not UTF-8 text at byte {error.start}; convert it to UTF-8") from None


def in_colour(wish: str) -> bool:
    """On a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return wish == "always" or (wish == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR"))


def say(message: str) -> None:
    """What a person wants to know, kept apart from what a program reads."""
    print(message, file=sys.stderr)


def progress_line() -> Callable[[Progress], None] | None:
    """A line on the terminal that rewrites itself; nothing where standard error is no terminal."""
    if not sys.stderr.isatty():
        return None
    started = time.monotonic()

    def show(progress: Progress) -> None:
        share = f"{100 * progress.done / progress.total:3.0f} %" if progress.total else f"{progress.done}"
        seconds = time.monotonic() - started
        with contextlib.suppress(OSError):
            print(f"\r{progress.phase} {share}  {seconds:.1f} s \x1b[K", end="", file=sys.stderr)
            if progress.done == progress.total:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    return show
