"""Data sets of the Hugging Face Hub: which files are read, that they are fetched once, and what is said where there are none. The Hub is a
server on this machine that answers as it does."""

import functools
import hashlib
import http.server
import json
import threading
from types import SimpleNamespace

import huggingface_hub.constants
import pyarrow
import pyarrow.parquet
import pytest
from lm_train import prepare
from lm_train.errors import DownloadError, SourceError
from lm_train.texts import hub
from lm_train.texts.hub import HubText, choose_files, hub_files
from tiny_runs import tiny_text

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """`/api/datasets/...` tells what there is, `/datasets/.../resolve/...` gives a file."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        self.server.requests.append((self.command, self.path))
        path = self.path.partition("?")[0]
        files = self.server.files
        if path.startswith("/api/datasets/owner/name/revision/"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
            content = json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode()
            return self.send(200, content, body=body)
        name = path.removeprefix(f"/datasets/owner/name/resolve/{COMMIT}/")
        if name in files:
            etag = hashlib.sha256(files[name]).hexdigest()
            return self.send(
                200, files[name], body=body, headers={"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
            )
        return self.send(404, b"{}", body=body, headers={"X-Error-Code": "RepoNotFound"})

    def send(self, status, content, *, body, headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def parquet(texts):
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({"story": texts, "number": list(range(len(texts)))}), sink)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    stories = [tiny_text(4_000, seed) for seed in range(4)]
    running.files, running.requests = (
        {
            "README.md": b"about it",
            "data/train-00000-of-00002.parquet": parquet(stories[:2]),
            "data/train-00001-of-00002.parquet": parquet(stories[2:]),
            "data/test-00000-of-00001.parquet": parquet(["not this one"]),
        },
        [],
    )
    running.stories = stories
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_port}")
    monkeypatch.setenv("LM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    thread = threading.Thread(target=functools.partial(running.serve_forever, poll_interval=0.01))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_the_training_split_becomes_a_dataset_and_is_fetched_once(server, tmp_path):
    told = []
    data = prepare(
        "hub:owner/name",
        tmp_path / "data",
        vocab_size=300,
        field="story",
        progress=lambda *call: told.append(call),
    )
    text = "".join(server.stories)
    assert data.text_bytes("train") + data.text_bytes("valid") == len(text.encode())
    size = sum(len(content) for name, content in server.files.items() if "train" in name)
    host = f"127.0.0.1:{server.server_port}"
    assert told[0] == (f"download hub:owner/name, 2 files, {size / 1e6:.1f} MB from {host}", 0, size)
    fetched = [path for method, path in server.requests if method == "GET" and "/resolve/" in path]
    assert len(fetched) == 2
    assert not any("test-" in path for _, path in server.requests)
    hub_files("hub:owner/name")
    assert [path for method, path in server.requests if method == "GET" and "/resolve/" in path] == fetched


def test_without_a_network_the_same_files_are_read_and_others_are_one_plain_line(server, monkeypatch):
    known = hub_files("hub:owner/name")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert hub_files("hub:owner/name") == known
    with pytest.raises(
        DownloadError, match=r"cannot reach 127.0.0.1:9 to get \"hub:owner/name/data/test.*Offline\? Try"
    ) as said:
        hub_files("hub:owner/name/data/test-00000-of-00001.parquet")
    assert "\n" not in str(said.value)


def test_a_data_set_that_is_not_there_is_one_plain_line(server):
    with pytest.raises(
        DownloadError, match=r'answered 404 for "hub:owner/other": .*; check its name, and HF_TOKEN'
    ) as said:
        hub_files("hub:owner/other")
    assert "\n" not in str(said.value)


def test_where_the_library_is_not_installed_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(hub, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: None)))
    with pytest.raises(SourceError, match=r"pip install 'lm-train\[hub\]'"):
        hub_files("hub:owner/name")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hub:owner/name", HubText("owner/name")),
        ("hub:owner/na.me@v1", HubText("owner/na.me", "v1")),
        ("hub:owner/name/sub/a-*.parquet", HubText("owner/name", "main", "sub/a-*.parquet")),
        ("hub:owner/name@v1/sub/", HubText("owner/name", "v1", "sub")),
    ],
)
def test_a_name_is_a_repository_a_revision_and_a_place_inside(name, meant):
    assert HubText.of(name) == meant
    assert HubText.of(str(meant)) == meant


@pytest.mark.parametrize("name", ["hub:", "hub:name", "hub:owner/", "hub:owner/name@"])
def test_a_name_of_another_form_is_refused(name):
    with pytest.raises(SourceError, match="wanted a data set of the Hub, as in hub:owner/name"):
        HubText.of(name)


FILES = [
    "README.md",
    "LICENSE.txt",
    "a/train-0.parquet",
    "a/test-0.parquet",
    "b/train.jsonl.gz",
    "pictures.zip",
]


@pytest.mark.parametrize(
    ("inside", "chosen"),
    [
        ("a", ["a/train-0.parquet"]),
        ("a/test-0.parquet", ["a/test-0.parquet"]),
        ("*/t*-0.parquet", ["a/train-0.parquet"]),
        ("b", ["b/train.jsonl.gz"]),
    ],
)
def test_a_folder_file_or_pattern_chooses(inside, chosen):
    assert choose_files(HubText("owner/name", "main", inside), FILES) == chosen


def test_several_configurations_and_none_are_said():
    with pytest.raises(SourceError, match=r"in several folders: a, b; name one, as in hub:owner/name/a"):
        choose_files(HubText("owner/name"), FILES)
    with pytest.raises(
        SourceError, match=r"hub:owner/name holds no c \(.parquet.*it has a/test-0.parquet, a/train"
    ):
        choose_files(HubText("owner/name", "main", "c"), FILES)
    with pytest.raises(SourceError, match=r"holds no text that can be read .*it has README.md, pictures.zip"):
        choose_files(HubText("owner/name"), ["README.md", "pictures.zip"])
