"""The workflows that GitHub runs: they parse, name jobs, scripts and inputs that exist, and publish without a password."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".github/workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))


def read(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    loaded["on"] = loaded.pop(True)  # YAML 1.1 reads `on` as a truth value
    return loaded


@pytest.mark.parametrize("name", NAMES)
def test_each_job_says_where_it_runs_and_what_it_waits_for(name):
    whole = read(name)
    assert whole["permissions"] == {"contents": "read"}  # what a job needs beyond that it says itself
    for job in whole["jobs"].values():
        assert set(job) & {"runs-on", "uses"}
        waits = job.get("needs", [])
        assert set([waits] if isinstance(waits, str) else waits) <= set(whole["jobs"])
        for step in job.get("steps", []):
            assert len(set(step) & {"run", "uses"}) == 1
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[\w.]+", step.get("uses", "a/b@v1"))


@pytest.mark.parametrize("name", NAMES)
def test_what_a_workflow_runs_and_reads_is_there(name):
    whole, text = read(name), (FOLDER / f"{name}.yml").read_text(encoding="utf-8")
    for path in re.findall(r"(?:scripts|\.ci|\.github/workflows)/[\w.]+", text):
        assert (ROOT / path).is_file(), path
    for job, output in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", text):
        assert output in whole["jobs"][job]["outputs"]
    for key in re.findall(r"matrix\.(\w+)", text):
        matrices = [job["strategy"]["matrix"] for job in whole["jobs"].values() if "strategy" in job]
        assert any(
            key in matrix or all(key in row for row in matrix.get("include", [{}])) for matrix in matrices
        )


def test_the_packages_of_the_workflows_are_those_of_the_workspace():
    packages = list(tomllib.loads((ROOT / "workspace.toml").read_text(encoding="utf-8"))["packages"])
    assert read("test")["jobs"]["package"]["strategy"]["matrix"]["package"] == packages
    assert read("wheels")["on"]["workflow_dispatch"]["inputs"]["package"]["options"] == packages
    assert set(read("wheels")["on"]["workflow_call"]["inputs"]) == set(
        read("release")["jobs"]["wheels"]["with"]
    )


def test_publishing_is_trusted_asks_a_person_and_knows_no_secret():
    text = (FOLDER / "release.yml").read_text(encoding="utf-8")
    publish = read("release")["jobs"]["publish"]
    assert publish["permissions"]["id-token"] == "write"
    assert publish["environment"] == "release"
    assert set(publish["needs"]) == {"check", "wheels"}
    assert "--trusted-publishing always" in text
    assert "secrets." not in text
