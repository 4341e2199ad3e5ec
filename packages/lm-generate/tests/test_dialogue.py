"""The dialogue: lines in, texts and messages out; and the program on a terminal of its own."""

import os
import select
import subprocess
import sys
import time

import pytest
from lm_generate.settings import Options
from lm_generate.terminal.dialogue import SETTINGS, Dialogue
from tiny_engines import save_tiny, tiny_engine

ENGINE = tiny_engine()
BASE = {"max_tokens": 8, "seed": 3, "stop": (), "heal": False}


def talk(capsys, *lines: str, **options) -> tuple[str, str]:
    """What the dialogue prints to standard output and to standard error."""
    said = iter(lines)

    def ask(prompt: str) -> str:
        line = next(said, None)
        if line is None:
            raise EOFError
        return line

    assert Dialogue(ENGINE, {**BASE, **options}).run(ask) == 0
    return capsys.readouterr()


def written(prompt: str, row: int = 0, **options) -> str:
    text = prompt + ENGINE.generate(prompt, row=row, **{**BASE, **options}).text
    return text if text.endswith("\n") else text + "\n"


def test_a_line_is_continued_and_its_figures_told(capsys):
    out, err = talk(capsys, "def", "", "class ")
    assert out == written("def") + written("class ")
    assert err.count("seed 3]") == 2


def test_again_is_the_next_row_and_more_goes_on_behind_the_text(capsys):
    out, _ = talk(capsys, "def", "/again", "/again", "/more")
    second = written("def", row=2)
    assert out.startswith(written("def") + written("def", row=1) + second)
    whole = "def" + ENGINE.generate("def", row=2, **BASE).text
    assert out == written("def") + written("def", row=1) + second + written(whole)


def test_a_setting_changes_what_comes_after_it(capsys):
    out, _ = talk(capsys, "/temperature 0", "/max-tokens 4", "def", "/seed none", "/stop \\n", "/settings")
    assert out == written("def", temperature=0, max_tokens=4)


def test_a_text_that_is_too_long_can_be_let_roll(capsys):
    out, err = talk(capsys, "/max-tokens 70", "def", "/past-context roll", "def", "/past-context wrap")
    assert 'or roll (past_context="roll"' in err
    assert 'past_context must be "error" or "roll", got' in err
    assert out == written("def", max_tokens=70, past_context="roll")


def test_every_setting_of_a_number_can_be_set_and_is_listed(capsys):
    _, err = talk(capsys, *(f"/{name.replace('_', '-')} 1" for name in SETTINGS), "/settings")
    for name in SETTINGS:
        assert f"{name} " in err
    assert "stop ('1',)" in err
    assert set(SETTINGS) <= set(Options.__annotations__)


def test_two_strokes_begin_a_prompt_with_one(capsys):
    assert talk(capsys, "//x")[0] == written("/x")


def test_explain_tells_the_last_text_token_by_token(capsys):
    out, _ = talk(capsys, "def", "/explain")
    assert out.startswith(written("def"))
    assert "the likeliest before" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/temprature 1", "there is no command /temprature; did you mean /temperature?"),
        ("/xyzzy", "there is no command /xyzzy; /help tells the commands"),
        ("/temperature hot", "/temperature takes a number, got 'hot'"),
        ("/top-k 1.5", "/top_k takes a whole number, got '1.5'"),
        ("/top-p 2", "top_p must lie in (0, 1]"),
        ("/again", "/again needs a text to begin with: type a prompt first"),
        ("<|endoftext|>", "<|endoftext|>"),
    ],
)
def test_a_mistake_is_told_and_changes_nothing(capsys, line, message):
    out, err = talk(capsys, line, "def")
    assert message in err
    assert out == written("def")


def test_ctrl_c_while_asking_begins_a_new_line(capsys):
    said = iter([KeyboardInterrupt(), "def"])

    def ask(prompt: str) -> str:
        line = next(said, EOFError())
        if isinstance(line, str):
            return line
        raise line

    assert Dialogue(ENGINE, {**BASE}).run(ask) == 0
    assert capsys.readouterr().out == written("def")


def test_help_names_every_command(capsys):
    _, err = talk(capsys, "/help")
    for command in ("/again", "/more", "/explain", "/settings", "/quit", "typical_p"):
        assert command in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")
def test_without_a_prompt_a_terminal_gets_the_dialogue(tmp_path):
    import pty

    model = save_tiny(tmp_path / "model")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lm_generate", "-m", str(model), "--max-tokens", "4", "--seed", "1"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    shown = b""
    try:
        for line, awaited in ((None, b"> "), (b"def\n", b"seed 1]"), (b"/quit\n", None)):
            if line:
                os.write(ours, line)
            until = time.monotonic() + 300  # bounds a hang, and says nothing of speed
            while awaited and awaited not in shown and time.monotonic() < until:
                if select.select([ours], [], [], 1)[0]:
                    shown += os.read(ours, 65536)
            assert awaited is None or awaited in shown, shown
        assert process.wait(timeout=300) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
