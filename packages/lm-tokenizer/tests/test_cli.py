"""The command line: what a person types, what comes out, and one plain line for each mistake."""

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sample_texts
from lm_tokenizer import Tokenizer
from lm_tokenizer.cli import main
from trained import END, trained


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    trained().save("tokenizer.json")
    Path("text.txt").write_text(f"The sea.\n{END}The lamp.\n")
    return tmp_path


def run(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "lm_tokenizer.cli", *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, env=os.environ | environment, check=False
    )


def test_train_writes_what_the_function_makes(folder: Path, capsys: pytest.CaptureFixture[str]):
    Path("corpus.txt").write_text(sample_texts.ALL_KINDS)
    options = ["--vocab-size", "400", "--pattern", "llama3", "--special", "<|a|>", "--tie-break", "greatest"]
    assert main(["train", "corpus.txt", "-o", "new.json", *options]) == 0
    expected = Tokenizer.train(
        files=["corpus.txt"], vocab_size=400, pattern="llama3", special_tokens=["<|a|>"], tie_break="greatest"
    )
    assert Tokenizer.load("new.json") == expected
    assert f"new.json: 400 ids, fingerprint {expected.fingerprint[:16]}" in capsys.readouterr().err


def test_special_tokens_may_stand_in_a_file_one_a_line(folder: Path, capsys: pytest.CaptureFixture[str]):
    Path("special.txt").write_bytes(b"<|a|>\r\n\n<|b b|>\n")
    options = ["--vocab-size", "300", "--special", "<|z|>", "--special-file", "special.txt"]
    assert main(["train", "text.txt", "-o", "new.json", *options]) == 0
    assert list(Tokenizer.load("new.json").special_tokens) == ["<|z|>", "<|a|>", "<|b b|>"]
    Path("empty.txt").write_text("\n")
    for file, problem in [("absent.txt", "No such file"), ("empty.txt", "no token in it")]:
        with pytest.raises(SystemExit, match="2"):
            main(["train", "text.txt", "-o", "x.json", "--special-file", file])
        assert problem in capsys.readouterr().err


def test_train_goes_on_from_a_tokenizer(folder: Path):
    (folder / "corpus.txt").write_text(sample_texts.PROSE)
    start = Tokenizer.load(folder / "tokenizer.json")
    size = start.vocab_size + 20
    common = [
        "train",
        str(folder / "corpus.txt"),
        "--start",
        str(folder / "tokenizer.json"),
        "--vocab-size",
        str(size),
    ]
    assert main([*common, "-o", str(folder / "further.json")]) == 0
    further = start.train_further(files=folder / "corpus.txt", vocab_size=size)
    assert Tokenizer.load(folder / "further.json") == further
    assert main([*common, "-o", str(folder / "x.json"), "--pattern", "gpt2"]) == 2


def test_train_says_when_the_text_is_too_small(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "text.txt", "-o", "new.json"]) == 0
    assert "fewer than the 32000 asked for" in capsys.readouterr().err


def test_ids_go_out_and_come_back_through_pipes(folder: Path):
    encoded = run("encode", "-t", "tokenizer.json", stdin="Ünïcode 日本\n".encode())
    assert [int(id) for id in encoded.stdout.split()] == trained().encode("Ünïcode 日本\n")
    decoded = run("decode", "-t", "tokenizer.json", stdin=encoded.stdout)
    assert decoded.stdout == "Ünïcode 日本\n".encode()


def test_encode_writes_a_raw_file_and_decode_reads_it(
    folder: Path, capsysbinary: pytest.CaptureFixture[bytes]
):
    arguments = ["-o", "ids.bin", "--separator", END, "--append", END, "--ends", "ends.bin"]
    assert main(["encode", "-t", "tokenizer.json", "text.txt", *arguments]) == 0
    assert np.fromfile("ends.bin", dtype="<u8").tolist()[-1] == len(np.fromfile("ids.bin", dtype="<u2"))
    assert main(["decode", "-t", "tokenizer.json", "ids.bin", "--dtype", "uint16"]) == 0
    assert capsysbinary.readouterr().out == f"The sea.\n{END}The lamp.\n{END}".encode()


def test_encode_writes_a_shard_for_each_file(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "b.txt").write_text("The lighthouse.")
    command = ["encode", "text.txt", "b.txt", "-t", "tokenizer.json", "--shards", "shards", "--append", END]
    assert main(command) == 0
    assert sorted(os.listdir("shards")) == ["00000.bin", "00000.json", "00001.bin", "00001.json"]
    ids = np.fromfile("shards/00001.bin", "<u2").tolist()
    assert ids == [*trained().encode("The lighthouse."), trained().special_tokens[END]]
    assert "2 shards" in capsys.readouterr().err
    assert main([*command, "-o", "ids"]) == 2


def test_count_counts_each_file_and_all(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["count", "-t", "tokenizer.json", "text.txt", "--special", "allow"]) == 0
    allowed = len(trained().encode(Path("text.txt").read_text(), allowed_special="all"))
    assert capsys.readouterr().out == f"{allowed}\n"
    assert main(["count", "-t", "tokenizer.json", "text.txt", "text.txt"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[1] == "total"


def test_show_divides_tokens_or_colours_them(folder: Path, monkeypatch: pytest.MonkeyPatch):
    arguments = ["show", "-t", "tokenizer.json", "--text", "the sea\n\x01é"]
    plain = run(*arguments).stdout.decode()
    assert "|" in plain
    assert "·" in plain
    assert "\x1b" not in plain
    assert "\x1b[30;48;5;" in run(*arguments, "--colour", "always").stdout.decode()
    rows = run(*arguments, "--ids").stdout.decode().splitlines()
    assert [int(row.split()[0]) for row in rows] == trained().encode("the sea\n\x01é")
    facts = run("show", "-t", "tokenizer.json", "--info").stdout.decode()
    assert trained().fingerprint in facts
    assert f"798  {END}" in facts


def test_convert_goes_through_every_format_and_back(folder: Path):
    steps = [
        ("tokenizer.json", "a.tiktoken"),
        ("a.tiktoken", "b.json", "--special", END, "--special", "<|pad|>"),
        ("a.tiktoken", "c.json", "--special", f"{END}=798", "--special", "<|pad|>=799"),
        ("b.json", "parts", "--to", "vocab-merges"),
        ("parts", "d.json", "--special", END, "--special", "<|pad|>"),
    ]
    for step in steps:
        assert main(["convert", *step]) == 0
    for name in ("b.json", "c.json", "d.json"):
        assert Tokenizer.load(name) == trained()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "-t", "absent.json"], "absent.json: No such file or directory"),
        (
            ["encode", "-t", "text.txt"],
            'text.txt: wanted a tokenizer.json, which is a JSON object, but it begins with "The',
        ),
        (["encode", "-t", "tokenizer.json", "absent.txt"], "absent.txt"),
        (["encode", "-t", "tokenizer.json", "binary"], "binary: not UTF-8 text at byte 1"),
        (
            ["encode", "-t", "tokenizer.json", "text.txt", "--special", "refuse"],
            "at character 9, which is not allowed",
        ),
        (
            ["encode", "-t", "tokenizer.json", "--append", END],
            "--append is about a file of ids; name that file with -o",
        ),
        (
            ["encode", "-t", "tokenizer.json", "text.txt", "-o", "x", "--append", "<|x|>"],
            "is not a special token",
        ),
        (["decode", "-t", "tokenizer.json", "text.txt"], "'The' is not an id"),
        (
            ["decode", "-t", "tokenizer.json", "binary", "--dtype", "uint16"],
            "3 bytes are no whole number of uint16",
        ),
        (["train", "absent.txt", "-o", "x.json"], "absent.txt: No such file or directory"),
        (["train", "text.txt", "-o", "x.json", "--vocab-size", "9"], "a vocabulary of 9 is too small"),
        (["train", "text.txt", "-o", "x.json", "--vocab-size=-9"], "vocab_size must be from 0 to 2**63 - 1"),
        (["train", "text.txt", "-o", "no/x.json"], "no/x.json: there is no folder no that can be written to"),
        (["convert", "tokenizer.json", "x.json", "--special", "<|x|>"], "names its special tokens itself"),
    ],
)
def test_a_mistake_gives_one_line_and_exit_code_2(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
):
    Path("binary").write_bytes(b"a\xff\xfe")
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lm-tokenizer {arguments[0]}: ")
    assert message in said
    assert said.count("\n") == 1
    assert not Path("x.json").exists()


def test_a_wrong_option_is_exit_code_2(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["train", "a", "-o", "b", "--vocab", "x"])
    assert end.value.code == 2
    assert "invalid int value: 'x'" in capsys.readouterr().err


def test_a_misspelt_option_names_the_nearest_one(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["train", "a", "-o", "b", "--vocabsize", "300"])
    assert end.value.code == 2
    assert "train takes no --vocabsize; did you mean --vocab-size?" in capsys.readouterr().err


def test_an_option_that_resembles_none_names_the_commands_help(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["decode", "a", "-t", "b", "--zzz"])
    assert end.value.code == 2
    assert "decode takes no --zzz; see lm-tokenizer decode --help" in capsys.readouterr().err


def test_output_that_cannot_be_written_is_one_plain_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sys.stdout.write", full)
    assert main(["count", "-t", "tokenizer.json", "text.txt"]) == 2
    assert capsys.readouterr().err == "lm-tokenizer count: No space left on device\n"


def test_a_closed_pipe_is_not_an_error(folder: Path):
    Path("long.txt").write_text("the sea " * 200_000)
    command = f"{sys.executable} -m lm_tokenizer.cli encode -t tokenizer.json long.txt long.txt | head -c 5"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, check=False)
    assert (result.returncode, len(result.stdout), result.stderr) == (0, 5, b"")


def test_a_shell_completes_commands_options_and_choices(capsys: pytest.CaptureFixture[str]):
    for shell in ("zsh", "fish", "bash"):
        assert main(["completion", shell]) == 0
        script = capsys.readouterr().out
        assert "gpt2 gpt2-digits" in script
        assert "tie-break" in script
    typed = {
        "c": "count compare convert completion",
        "encode --d": "--dtype",
        "encode --dtype ": "uint16 uint32",
        "train a.txt --pattern g": "gpt2 gpt2-digits",
        "count a": "",  # a file's name, which the shell completes
    }
    for words, offered in typed.items():
        line = ["lm-tokenizer", *words.split(" ")]
        ask = f'COMP_WORDS=({shlex.join(line)}); COMP_CWORD={len(line) - 1}; _lm_tokenizer; echo "${{COMPREPLY[*]}}"'
        heard = subprocess.run(["bash", "-c", f"{script}{ask}"], capture_output=True, text=True, check=True)
        assert heard.stdout.strip() == offered, words


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]):
    for command in ([], ["train"], ["encode"], ["decode"], ["count"], ["show"], ["convert"]):
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
        assert "usage: lm-tokenizer" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_named_without_the_systems_number(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["encode", "nowhere.txt", "-t", "tokenizer.json"]) == 2
    assert capsys.readouterr().err == "lm-tokenizer encode: nowhere.txt: No such file or directory\n"
