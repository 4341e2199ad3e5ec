"""`lm-generate serve` as a process: how it starts, tells where it is, and ends."""

import json
import os
import re
import signal
import subprocess
import sys

import httpx
import pytest
from lm_generate.cli import run
from tiny_engines import save_run

COMMAND = [sys.executable, "-m", "lm_generate", "serve"]


def test_a_server_ends_its_requests_before_it_ends_itself(tmp_path):
    """One process for the whole life: the newest run is served, logged, and stopped by SIGTERM in the middle of a stream."""
    save_run(tmp_path / "runs", "stories", 3, 7)
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--log", "console-json", "--grace-seconds", "0.3"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        told = [process.stderr.readline() for _ in range(3)]
        assert "stories/step-00000007 and 1 more, 16 texts at once" in told[1]
        address = re.search(r"page: (http://127\.0\.0\.1:\d+)/ ", told[2])[1]
        with httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
            body = {"prompt": "def ", "max_tokens": 3, "seed": 1, "temperature": 0.5}
            text = client.post("/v1/completions", json=body).json()["choices"][0]["text"]
            endless = {
                "prompt": "a",
                "max_tokens": 4096,
                "roll": True,
                "ignore_eos": True,
                "n": 128,
                "stream": True,
            }
            with client.stream("POST", "/v1/completions", json=endless) as answer:
                lines = answer.iter_lines()
                assert next(lines).startswith("data: ")
                process.send_signal(signal.SIGTERM)
                last = [line for line in lines if line][-1]
        assert "the server is being stopped" in json.loads(last.removeprefix("data: "))["error"]["message"]
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert err == "stopped\n"
    first, second = (json.loads(line) for line in out.splitlines())
    assert (first["prompt"], first["text"], first["tokens"], first["seed"]) == ("def ", text, 3, 1)
    assert first["sampling"]["temperature"] == 0.5
    assert 0 < first["first_token_seconds"] <= first["seconds"]
    assert second["tokens"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines, so a token is wanted"),
        (["--port", "70000", "--model", "x"], "port must be from 0 (a free one) to 65535"),
        (["--port", "0", "--dtype", "int3", "--model", "x"], "int3"),
        (["--host", "no.such.host.invalid"], "so a token is wanted"),
        (["--slots", "0"], "slots must be above 0"),
        (["--port", "0", "--model", "nowhere"], "there is no folder nowhere"),
        (["--token-file", "nowhere"], "cannot read the token file nowhere"),
        ([], "train one with"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_message(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LM_GENERATE_TOKEN", raising=False)
    assert run(["serve", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_without_the_extra_the_way_to_it_is_told(monkeypatch, capsys):
    monkeypatch.setattr("lm_generate.serving.command.EXTRA", ("starlette", "no_such_module"))
    assert run(["serve"]) == 2
    assert "pip install 'lm-generate[serve]'" in capsys.readouterr().err


def test_a_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    from lm_generate.serving.command import read_token

    monkeypatch.delenv("LM_GENERATE_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("LM_GENERATE_TOKEN", "from-the-environment")
    assert read_token(None) == "from-the-environment"
    (tmp_path / "token").write_text("secret\n")
    assert read_token(tmp_path / "token") == "secret"
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        read_token(tmp_path / "token")
    (tmp_path / "token").write_text("pärole")
    with pytest.raises(ValueError, match="one word of ASCII"):
        read_token(tmp_path / "token")
    assert os.environ["LM_GENERATE_TOKEN"]
