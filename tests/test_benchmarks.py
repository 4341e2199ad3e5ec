"""The records of benchmarks: what is kept of a run, what the documents say of it, and that they say no more."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from benchmarking.documents import FiguresError, page, readmes, records, with_figures
from benchmarking.record import Benchmark, Record, Row, RowError, newest, read_rows, save

ROOT = Path(__file__).resolve().parent.parent
RATES = {"ours": [90.0, 110.0, 100.0], "theirs": [50.0, 100.0, 40.0], "a third": [200.0]}
TIMES = {"ours": [2.0, 4.0], "theirs": [3.0, 4.0]}


def a_record(date="2026-01-02", name="x86-64-avx2-2cpu", benchmark="step"):
    rows = [
        Row(case="8 x 256", measure="training", unit="tokens/s", better="higher", runs=RATES),
        Row(case="8 x 256", measure="start", unit="ms", better="lower", runs=TIMES),
    ]
    hardware = {"name": name, "processor": "Some CPU", "versions": "torch 2"}
    return Record("lm-core", date, hardware, (0.1, 1.2), [Benchmark(benchmark, "A step", ["step.py"], rows)])


def test_an_advantage_is_the_median_of_the_rounds_own_ratios():
    rate, time = a_record().benchmarks[0].rows
    assert rate.advantage("theirs") == pytest.approx(1.8)  # of 90/50, 110/100, 100/40
    assert rate.advantage("a third") == pytest.approx(0.5)  # other rounds: the medians' ratio
    assert time.advantage("theirs") == pytest.approx(1 / ((2 / 3 + 4 / 4) / 2))  # less is better


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"better": "more"}, "wanted higher or lower"),
        ({"runs": {}}, "no contender ran"),
        ({"runs": {"ours": []}}, "ours has no run"),
        ({"runs": {"ours": [1.0, float("nan")]}}, "not above 0"),
        ({"colour": 1}, "wanted"),
    ],
)
def test_what_is_no_row_is_refused(change, words):
    row = {"case": "c", "measure": "m", "unit": "ms", "better": "lower", "runs": {"ours": [1.0]}}
    assert read_rows({"rows": [row]})[0].ours == "ours"
    with pytest.raises(RowError, match=words):
        read_rows({"rows": [row | change]})


def test_the_newest_record_is_read_back_as_it_was_saved(tmp_path):
    save(tmp_path, a_record("2025-12-31", benchmark="older"))
    save(tmp_path, a_record())
    back = newest(tmp_path, "lm-core")
    assert back is not None
    assert (back.date, back.benchmarks[0].rows) == ("2026-01-02", a_record().benchmarks[0].rows)


def test_a_benchmark_that_is_run_again_alone_keeps_the_others_of_the_same_machine():
    old, new = a_record("2025-12-31", benchmark="older"), a_record()
    assert [each.name for each in new.onto(old).benchmarks] == ["older", "step"]
    assert new.onto(a_record(name="another", benchmark="older")) == new


def test_a_readme_shows_the_newest_figures_and_no_others(tmp_path):
    save(tmp_path, a_record())
    readme = tmp_path / "packages/lm-core/README.md"
    text = "before\n<!-- figures: step -->\nold\n<!-- end of figures -->\nafter\n"
    shown = with_figures(tmp_path, readme, text)
    assert (
        "| A step: 8 x 256, training | 100 tokens/s | theirs 50 tokens/s (1.80x), a third 200 tokens/s (0.50x) |"
        in shown
    )
    assert "old" not in shown
    assert shown.startswith("before\n")
    assert shown.endswith("after\n")
    assert with_figures(tmp_path, readme, shown) == shown
    with pytest.raises(FiguresError, match="'other', of which there is no record; there are step"):
        with_figures(tmp_path, readme, text.replace("step", "other"))


def test_the_documents_say_what_the_newest_records_say():
    for package, record in records(ROOT).items():
        written = ROOT / "packages" / package / "docs/benchmarks.md"
        assert written.read_text(encoding="utf-8") == page(record), "scripts/benchmarks.py --write"
    for readme in readmes(ROOT):
        text = readme.read_text(encoding="utf-8")
        assert with_figures(ROOT, readme, text) == text, "scripts/benchmarks.py --write"


def test_every_benchmark_of_the_table_is_a_script_of_its_package():
    table = tomllib.loads((ROOT / "scripts/benchmarking/table.toml").read_text(encoding="utf-8"))
    assert sorted(table) == sorted(folder.name for folder in (ROOT / "packages").iterdir() if folder.is_dir())
    for package, benchmarks in table.items():
        for name, facts in benchmarks.items():
            benchmark = Benchmark(name=name, **facts)
            assert (ROOT / "packages" / package / "benchmarks" / benchmark.command[0]).is_file()


def test_a_benchmark_prints_rows_and_a_wrong_package_is_said(tmp_path):
    text = tmp_path / "text"
    text.write_text("One two three four five six seven. " * 3000)
    script = ROOT / "packages/lm-tokenizer/benchmarks/compare.py"
    arguments = [
        "short",
        "count",
        "--text",
        text,
        "--runs",
        "1",
        "--vocab-size",
        "300",
        "--peers",
        "lm-tokenizer",
        "--json",
    ]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=True)
    rows = read_rows(json.loads(done.stdout))
    assert {row.measure for row in rows} >= {"20 characters", "counting"}
    wrong = subprocess.run(
        [sys.executable, ROOT / "scripts/benchmarks.py", "lm-cores"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 2
    assert "unknown package 'lm-cores'" in wrong.stderr
