"""The whole road once: text -> tokenizer -> token dataset -> model -> checkpoint -> generated text."""

import json

from run_command import command


def test_a_run_leaves_everything_that_the_design_promises(walked):
    run = walked / "runs" / "counting"
    for name in ["config.toml", "metrics.jsonl", "samples.jsonl", "log.txt", "report.html"]:
        assert (run / name).stat().st_size > 0, name
    (checkpoint,) = sorted((run / "checkpoints").iterdir())[-1:]
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "manifest.json",
    ]:
        assert (checkpoint / name).stat().st_size > 0, name


def test_the_loss_falls_on_a_regular_text(walked):
    lines = (walked / "runs/counting/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]


def test_the_newest_run_writes_text(walked):
    done = command(
        "lm_generate", "--prompt", "one, two,", "--max-tokens", "12", "--temperature", "0", cwd=walked
    )
    assert done.returncode == 0, done.stderr
    assert "one, two," in done.stdout + done.stderr
    assert "three" in done.stdout


def test_generating_where_nothing_was_trained_names_the_command_to_train(tmp_path):
    done = command("lm_generate", "--prompt", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "train" in done.stderr
