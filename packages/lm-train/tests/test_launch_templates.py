"""The templates of docs/many-ranks.md for Slurm, SkyPilot and Kubernetes: their files parse, and so does each word of their commands."""

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from lm_train import cli
from lm_train.config import TrainConfig
from lm_train.config_file import build, to_toml
from lm_train.run_folder import RunFolder
from torch.distributed.run import get_args_parser

PAGE = (Path(__file__).parents[1] / "docs/many-ranks.md").read_text(encoding="utf-8")
GIVEN = {  # what these systems set
    "SLURM_NNODES": "2",
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NODELIST": "a,b",
    "head": "a",
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
    "JOB_COMPLETION_INDEX": "1",
}
GRACE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"  # not torchrun's flag for it, which is refused by a torchrun that does not know it (2.10)


def template(heading: str) -> str:
    return re.search(rf"## {re.escape(heading)}.*?\n```\n(.*?)```", PAGE, re.DOTALL)[1]


def command(script: str) -> list[str]:
    """The words behind `torchrun` as a shell gives them to it, with what these systems set."""
    line = re.search(r"torchrun(?:[^\n]|\n(?= {2,}\S|\s*--))*", script.replace("\\\n", " "))[0]
    shell = f"set -eu; torchrun() {{ printf '%s\\0' \"$@\"; }}; {line}"
    done = subprocess.run(
        ["bash", "-c", shell],
        env={**GIVEN, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\0")[:-1]


SCRIPTS = {
    "Under Slurm": lambda text: text,
    "On rented machines (SkyPilot)": lambda text: yaml.safe_load(text)["run"],
    "Under Kubernetes": lambda text: yaml.safe_load(text)["spec"]["template"]["spec"]["containers"][0][
        "args"
    ][0],
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="the templates are for a shell")
@pytest.mark.parametrize("heading", SCRIPTS)
def test_every_word_of_a_template_is_a_flag_of_torchrun_or_a_setting_of_a_run(
    heading, tmp_path, monkeypatch, capsys
):
    script = SCRIPTS[heading](template(heading))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    words = command(script)
    launch = get_args_parser().parse_args(words)
    assert (launch.module, launch.training_script) == (True, "lm_train")
    assert (launch.nnodes, launch.nproc_per_node, launch.max_restarts) == ("2", "8", 3)
    assert launch.rdzv_endpoint == "a:29500" or (launch.node_rank == 1 and launch.master_port == 29500)
    assert launch.master_addr in ("127.0.0.1", "10.0.0.1", "big-0.big")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(to_toml(TrainConfig(batch=16)))
    ours = [word.replace("/data/mine.toml", "mine.toml") for word in launch.training_script_args]
    assert ours[-2:] == ["--resume", "auto"]
    assert cli.run([*ours[:-2], "--print-config"]) == 0
    config = build(tomllib.loads(capsys.readouterr().out))
    assert (config.name, config.batch) == ("big", 16)
    assert config.out == (
        "runs" if heading == "Under Slurm" else shlex.split(script)[shlex.split(script).index("--out") + 1]
    )


@pytest.mark.parametrize("status", ["stopped", "done", "failed"])
def test_the_word_by_which_the_slurm_template_finds_a_stopped_run_is_in_its_record(tmp_path, status):
    pattern, file = re.search(r"grep -q '(.*?)' (\S+)", template("Under Slurm")).groups()
    RunFolder.create(tmp_path / "runs", "big", "big").update(status=status)
    found = re.search(pattern, (tmp_path / file).read_text())
    assert bool(found) == (status == "stopped")


def test_the_machines_of_a_template_are_those_of_its_command():
    job = yaml.safe_load(template("Under Kubernetes"))["spec"]
    words = command(SCRIPTS["Under Kubernetes"](template("Under Kubernetes")))
    assert job["completions"] == job["parallelism"] == int(words[words.index("--nnodes") + 1])
    pod = job["template"]["spec"]
    gpus = pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert gpus == int(words[words.index("--nproc-per-node") + 1])
    (grace,) = (each for each in pod["containers"][0]["env"] if each["name"] == GRACE)
    assert pod["terminationGracePeriodSeconds"] > int(grace["value"])
    sky = yaml.safe_load(template("On rented machines (SkyPilot)"))
    words = command(sky["run"])
    assert sky["num_nodes"] == 2
    assert sky["resources"]["accelerators"] == f"H100:{words[words.index('--nproc-per-node') + 1]}"
    assert words[words.index("--out") + 1] in sky["file_mounts"]
    slurm = template("Under Slurm")
    assert int(re.search(r"--nodes (\d+)", slurm)[1]) == int(GIVEN["SLURM_NNODES"])
    assert f"--gpus-per-node {command(slurm)[command(slurm).index('--nproc-per-node') + 1]}" in slurm
    before = re.search(r"--signal TERM@(\d+)", slurm)[1]
    after = re.search(rf"^export {GRACE}=(\d+)$", slurm, re.MULTILINE)[1]
    assert int(before) > int(after)  # there is time to save before the machines are taken away


@pytest.mark.skipif(
    "--shutdown-timeout" not in get_args_parser().format_help(), reason="this torch always waits 30 s"
)
def test_the_variable_that_gives_ranks_more_time_to_save_is_the_one_that_torchrun_looks_at():
    assert GRACE in get_args_parser().format_help()
