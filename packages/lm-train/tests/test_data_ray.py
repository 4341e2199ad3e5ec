"""`prepare --engine ray` on a Ray cluster of several nodes on this machine, on loopback, while workers and a node die."""

import os
import signal
import time

import pytest
from lm_train import cli
from lm_train.prepare import prepare
from lm_train.tokens import encode_documents, text_tokenizer
from lm_train.tokens.on_ray import RayEngine
from tiny_runs import tiny_text

ray = pytest.importorskip("ray", reason="lm-train[ray] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::ResourceWarning")]
HOME = "127.0.0.1"


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of two CPUs each. Ray would offer its services to the network; here everything stays on loopback."""
    from ray._private import services
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(services, "resolve_ip_for_localhost", lambda host: host)
    monkeypatch.setattr(services, "get_node_ip_address", lambda *args: HOME)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"node_ip_address": HOME, "object_store_memory": 100 << 20, "num_cpus": 2}
    made = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **node})
    made.extra = made.add_node(**node)
    yield made
    ray.shutdown()
    made.shutdown()


def worker_pids():
    """The processes that this cluster's tasks run in."""

    @ray.remote(num_cpus=1)
    def pid():
        time.sleep(0.5)
        return os.getpid()

    return set(ray.get([pid.remote() for _ in range(4)]))


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_workers_and_a_node_that_die_midway_change_no_byte(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(encode_documents, "ENCODED_AT_ONCE", 20_000)
    monkeypatch.setattr(text_tokenizer, "COUNTED_AT_ONCE", 20_000)
    text = tmp_path / "text.txt"
    text.write_text(tiny_text(1_500_000), encoding="utf-8")
    settings = {"vocab_size": 400, "shard_tokens": 50_000}
    here = files_of(prepare(text, tmp_path / "here", **settings).folder)
    killed: list[object] = []

    def kill(phase, done, total):
        if phase == "count words" and done > total // 3 and not killed:
            for pid in worker_pids():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        if phase == "encode" and done > total // 3 and "node" not in killed:
            cluster.remove_node(cluster.extra, allow_graceful=False)
            killed.append("node")

    with RayEngine(cluster.address) as engine:
        there = prepare(text, tmp_path / "there", **settings, engine=engine, progress=kill)
    assert len(killed) > 1
    assert killed[-1] == "node"
    assert files_of(there.folder) == here

    command = ["prepare", str(text), "--vocab-size", "400", "--engine", "ray", "--address", cluster.address]
    assert cli.run([*command, "--out", str(tmp_path / "command")]) == 0
    assert (tmp_path / "command/tokenizer.json").read_bytes() == here["tokenizer.json"]
