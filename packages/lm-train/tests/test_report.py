"""report.html: one file that stands alone, whatever a run has or lacks."""

import json
import re
from html.parser import HTMLParser

import pytest
from lm_train.config import TrainConfig
from lm_train.config_file import to_toml
from lm_train.run_folder import RunFolder
from lm_train.view.charts import Line, chart, thinned
from lm_train.view.report import Page, read_page, smoothed, write_report

SAMPLE = "<script>alert(1)</script> & so on"


def finished_run(out, name="run", *, steps=50, **settings):
    """A run folder with the files that a run leaves, made up."""
    run = RunFolder.create(out, name, "x")
    run.config.write_text(to_toml(TrainConfig(steps=steps, **settings)))
    metrics = []
    for step in range(1, steps + 1):
        row = {"step": step, "tokens": 100 * step, "seconds": 0.1 * step}
        metrics.append(
            {**row, "loss": 8.0 / step**0.2, "grad_norm": 1.0, "lr": 0.004, "tokens_per_second": 1000.0}
        )
        if step % 10 == 0:
            metrics.append(
                {
                    **row,
                    "valid_loss": 8.1 / step**0.2,
                    "valid_bits_per_byte": 4.0 / step**0.2,
                    "valid_tokens": 640,
                }
            )
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in metrics))
    samples = [
        {"step": step, "tokens": 100 * step, "prompt": "def", "text": f" {SAMPLE}"}
        for step in range(2, steps + 1, 2)
    ]
    run.samples.write_text("".join(json.dumps(row) + "\n" for row in samples))
    run.update(
        status="done",
        machine={"device": "cpu"},
        versions={"torch": "2"},
        parameters=1234,
        model={"d_model": 8, "rope_scaling": None},
        dataset={
            "folder": "datasets/x",
            "fingerprint": "f" * 64,
            "tokenizer_fingerprint": None,
            "vocab_size": 300,
            "splits": {"train": {"tokens": 5000, "documents": None, "bytes": 20000}},
        },
    )
    return run


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_a_report_needs_no_network_and_no_script(tmp_path):
    html = write_report(finished_run(tmp_path)).read_text()
    tags = Tags(html).found
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in tags)
    assert not [
        value
        for _, attrs in tags
        for key, value in attrs.items()
        if key in ("src", "href") and not value.startswith("#")
    ]
    assert "url(http" not in html
    assert sum(tag == "svg" for tag, _ in tags) == 5


def test_a_report_warns_of_overfitting_and_draws_layers_where_they_were_measured(tmp_path):
    run = finished_run(tmp_path)
    assert "Overfitting" not in write_report(run).read_text()
    row = {"step": 60, "tokens": 6000, "seconds": 6.0, "valid_loss": 9.0, "valid_bits_per_byte": 5.0}
    row |= {"valid_tokens": 640, "weight_rms/blocks.0": 0.1, "activation_rms/blocks.0": 1.0}
    with run.metrics.open("a") as file:
        file.write(json.dumps(row) + "\n")
    html = write_report(run).read_text()
    assert "Overfitting: the held-out loss was lowest at step 50" in html
    assert html.count("<svg") == 7


def test_what_a_model_writes_is_text_not_markup(tmp_path):
    html = write_report(finished_run(tmp_path, "a")).read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; so on" in html


def test_a_report_tells_the_figures_settings_data_and_how_to_repeat(tmp_path):
    html = write_report(finished_run(tmp_path, seed=7)).read_text()
    for part in (
        ">done<",
        "5,000 tokens from 20,000 bytes",
        "1,234",
        "<td>seed</td>",
        f"lm-train --config {tmp_path}/run/config.toml",
    ):
        assert part in html, part
    assert re.search(r"<b>1\.829</b><span>bits per byte, held out", html)
    assert re.search(r"<b>40\.6</b><span>perplexity", html)  # e ** (8.1 / 50 ** 0.2)


def test_a_run_that_has_just_begun_has_a_report(tmp_path):
    run = RunFolder.create(tmp_path, "new", "x")
    run.config.write_text("")
    html = write_report(run).read_text()
    assert "stopped" in html
    assert "<svg" not in html


def test_several_runs_are_compared_on_one_page(tmp_path):
    runs = [finished_run(tmp_path, name, seed=seed) for name, seed in (("a <b>", 1), ("b", 2))]
    path = write_report(*runs)
    assert path == tmp_path / "comparison.html"
    html = path.read_text()
    assert "Where the settings differ" in html
    assert "<td>seed</td><td>1</td><td>2</td>" in html
    assert "a <b>" not in html
    assert html.count("<svg") == 5


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = finished_run(tmp_path)
    first = write_report(run).read_bytes()
    assert write_report(run, out=tmp_path / "again.html").read_bytes() == first


def test_charts_take_their_colours_from_the_page():
    svg = chart([Line(0, "a $x_1$ & b", [0, 1], [1, 2]), Line(1, "b", [0, 1], [2, 1])], x="tokens", y="loss")
    assert "var(--run-0)" in svg
    assert "var(--run-1)" in svg
    assert "var(--ink)" in svg
    assert "a $x_1$ &amp; b" in svg
    assert not re.findall(r"#0[0-9a-f]{5}", svg)
    assert chart([Line(0, "none", [], [])], x="x", y="y") == ""


def test_thinning_keeps_the_mean():
    x, y = thinned(list(range(1000)), [float(i % 7) for i in range(1000)], most=100)
    assert len(x) == 100
    assert sum(y) / len(y) == pytest.approx(sum(i % 7 for i in range(1000)) / 1000)


def test_smoothing_is_a_mean_of_what_was_seen():
    assert smoothed([3.0, 3.0, 3.0]) == pytest.approx([3.0, 3.0, 3.0])
    assert smoothed([]) == []


def test_the_samples_shown_are_the_newest_and_some_on_the_way(tmp_path):
    samples = [{"step": step, "tokens": step, "prompt": "a", "text": ""} for step in range(1, 101)]
    samples.append({"step": 100, "tokens": 100, "prompt": "b", "text": ""})
    page = Page("x", "x", "done", TrainConfig(), {}, [], samples)
    steps = [row["step"] for row in page.shown_samples]
    assert steps[:2] == [100, 100]
    assert steps == sorted(steps, reverse=True)
    assert len(steps) <= 14


def test_a_closing_sample_that_is_told_twice_is_shown_once(tmp_path):
    run = finished_run(tmp_path, steps=10)
    told = {"step": 10, "tokens": 1000, "prompt": "def", "text": f" {SAMPLE}"}
    with run.samples.open("a") as file:
        for row in (told, {**told, "text": " other"}, {**told, "prompt": "class"}, told):
            file.write(json.dumps(row) + "\n")
    closing = [(row["prompt"], row["text"]) for row in read_page(run).shown_samples if row["step"] == 10]
    assert closing == [("def", f" {SAMPLE}"), ("def", " other"), ("class", f" {SAMPLE}")]


def test_settings_are_written_as_they_are_typed(tmp_path):
    runs = [finished_run(tmp_path, "a", log=("wandb", "trackio"), compile=True), finished_run(tmp_path, "b")]
    page = write_report(*runs).read_text()
    assert "<td>compile</td><td>true</td><td>false</td>" in page
    assert "<td>log</td><td>wandb, trackio</td><td></td>" in page
    assert '<td>compile</td><td class="was">false</td><td>true</td>' in page
