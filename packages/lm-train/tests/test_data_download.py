import functools
import hashlib
import http.server
import threading

import pytest
from lm_train.errors import DownloadError
from lm_train.texts.download import SHAKESPEARE, TINYSTORIES, Download, cache_folder, fetch

CONTENT = bytes(range(1, 128)) * 3_000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`; knows ranges unless told otherwise; hangs up after `stop_after` bytes of the body."""

    def do_GET(self):
        state = self.server.state
        state["requests"].append(self.headers.get("Range"))
        if state["status"] != 200:
            self.send_error(state["status"])
            return
        start = 0
        if state["ranges"] and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header(
                "Content-Range", f"bytes {start}-{len(state['content']) - 1}/{len(state['content'])}"
            )
        else:
            self.send_response(200)
        body = state["content"][start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        stop = state["stop_after"]
        self.wfile.write(body if stop is None else body[:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.state = {"content": CONTENT, "requests": [], "status": 200, "ranges": True, "stop_after": None}
    thread = threading.Thread(target=functools.partial(running.serve_forever, poll_interval=0.01))
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def wanted(server, *, known=True):
    return Download(
        name="plays",
        file="plays.txt",
        url=f"http://127.0.0.1:{server.server_port}/plays.txt",
        bytes=len(CONTENT),
        licence="public domain",
        sha256=hashlib.sha256(CONTENT).hexdigest() if known else None,
    )


def test_a_text_is_fetched_once_and_its_size_is_said_before_the_first_byte(server, tmp_path):
    calls = []
    path = fetch(wanted(server), folder=tmp_path, progress=lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert calls[0] == (f"download plays, 0.4 MB from 127.0.0.1:{server.server_port}", 0, len(CONTENT))
    assert calls[-1][1:] == (len(CONTENT), len(CONTENT))
    assert fetch(wanted(server), folder=tmp_path) == path
    assert server.state["requests"] == [None]
    assert [file.name for file in tmp_path.iterdir()] == ["plays.txt"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_goes_on_from_there_or_starts_over(server, tmp_path, ranges):
    server.state |= {"stop_after": 100_000, "ranges": ranges}
    with pytest.raises(
        DownloadError,
        match=r'"plays" came only to 100,000 of 381,000 bytes .*; run it again to go on|cannot reach',
    ):
        fetch(wanted(server), folder=tmp_path)
    assert (tmp_path / "plays.txt.part").stat().st_size == 100_000
    server.state["stop_after"] = None
    assert fetch(wanted(server), folder=tmp_path).read_bytes() == CONTENT
    assert server.state["requests"] == [None, "bytes=100000-"]


def test_other_bytes_than_the_known_ones_are_refused_and_not_kept(server, tmp_path):
    server.state["content"] = CONTENT[:-1] + b"!"
    with pytest.raises(
        DownloadError, match=r'"plays" is not the text it should be: http://.* gave SHA-256 [0-9a-f]{64}, not'
    ):
        fetch(wanted(server), folder=tmp_path)
    assert not (tmp_path / "plays.txt").exists()
    assert not (tmp_path / "plays.txt.part").exists()


def test_a_longer_text_is_refused(server, tmp_path):
    server.state["content"] = CONTENT + b"more"
    with pytest.raises(DownloadError, match="gave 381,004 bytes, not 381,000"):
        fetch(wanted(server), folder=tmp_path)


def test_an_unknown_hash_is_trusted_on_the_first_download_and_holds_from_then_on(server, tmp_path):
    path = fetch(wanted(server, known=False), folder=tmp_path)
    note = tmp_path / "plays.txt.sha256"
    assert note.read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}  plays.txt\n"
    fetch(wanted(server, known=False), folder=tmp_path)
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(
        DownloadError,
        match=r"plays.txt has SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}; delete .* and run it again",
    ):
        fetch(wanted(server, known=False), folder=tmp_path)


def test_a_cached_text_that_was_cut_is_named(server, tmp_path):
    path = fetch(wanted(server), folder=tmp_path)
    path.write_bytes(CONTENT[:10])
    with pytest.raises(DownloadError, match=r"plays\.txt has 10 bytes, not 381,000; delete"):
        fetch(wanted(server), folder=tmp_path)


def test_an_answer_that_is_an_error_is_one_line(server, tmp_path):
    server.state["status"] = 404
    with pytest.raises(
        DownloadError, match=r'answered 404 \(Not Found\) for "plays" \(http.*\); try again later'
    ) as caught:
        fetch(wanted(server), folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_offline_is_one_line_that_says_what_to_do(server, tmp_path):
    there = wanted(server)
    nowhere = Download(
        "plays", "plays.txt", "http://127.0.0.1:9/plays.txt", there.bytes, there.licence, there.sha256
    )
    message = r'cannot reach 127\.0\.0\.1:9 to get "plays" \(0\.4 MB\): .*\. Offline\? Try --data stories \(built in\) or --data PATH'
    with pytest.raises(DownloadError, match=message) as caught:
        fetch(nowhere, folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_two_threads_that_want_it_fetch_it_once(server, tmp_path):
    threads = [
        threading.Thread(target=fetch, args=(wanted(server),), kwargs={"folder": tmp_path}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.state["requests"] == [None]


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("LM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LM_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "lm-train"


def test_the_published_texts_are_https_and_pinned_as_far_as_they_are_known():
    assert SHAKESPEARE.bytes == 1_115_394
    assert SHAKESPEARE.sha256.startswith("86c4e6aa9db7c042")
    for download in (SHAKESPEARE, TINYSTORIES):
        assert download.url.startswith("https://")
        assert download.licence
