"""Every bound of the server (R11): what hostile and careless clients meet, and that others are served beside them."""

import json
import re
import socket
import threading
import time

import httpx
import pytest
from lm_core.errors import DamagedFileError
from lm_generate.serving.limits import Limits
from lm_generate.serving.server import check_access, is_loopback
from lm_generate.serving.shelf import Shelf, name_of
from tiny_engines import save_run, tiny_engine
from tiny_server import serve

ENDLESS = {"prompt": "def ", "max_tokens": 10**7, "roll": True, "ignore_eos": True}
"""Hours of writing, where a server allows it (`UNBOUNDED`): it never ends by itself before a slow test has looked."""
UNBOUNDED = {"max_tokens": 10**7}
JSON = {"content-type": "application/json"}


def request_bytes(body, length=None, path="/v1/completions"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data) if length is None else length}\r\n\r\n"
    )
    return head.encode() + data


def read_all(connection):
    """Until the server closes."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def wait_until(true, seconds=120.0):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it never became true"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    limits = UNBOUNDED | {"slots": 2, "requests": 3, "connections": 12, "body_bytes": 20_000}
    with serve(tmp_path_factory.mktemp("limits"), limits=limits) as running:
        yield running


def test_a_body_that_is_too_large_is_not_read(server):
    announced = server.client.post("/v1/completions", content=b"a" * 20_001, headers=JSON)
    chunked = server.client.post("/v1/completions", content=(b"a" * 999 for _ in range(30)), headers=JSON)
    for answer in (announced, chunked):
        assert answer.status_code == 413
        assert "larger than 20000 bytes" in answer.json()["error"]["message"]


def test_a_refusal_is_heard_by_a_sender_who_is_still_sending(server):
    """Without reading on, the connection is reset under the answer (RFC 9112, section 9.6)."""
    head = "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 400000\r\nContent-Type: {}\r\nConnection: close\r\n\r\n"
    refused = {
        415: head.format("/v1/completions", "localhost", "text/plain"),
        404: head.format("/nowhere", "localhost", "application/json"),
        403: head.format("/v1/completions", "evil.example", "application/json"),
    }
    for status, headers in refused.items():
        with server.socket() as connection:
            connection.sendall(headers.encode() + b"a" * 400_000)
            heard = b""
            while piece := connection.recv(4096):
                heard += piece
        assert heard.startswith(b"HTTP/1.1 %d " % status)
        assert heard.endswith(b"}")


def test_headers_and_bodies_that_do_not_come_are_not_waited_for(tmp_path):
    slow = [
        b"",
        b"GET /heal",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea",  # the second one on a connection
        request_bytes(b"{", length=500),
    ]
    with serve(tmp_path, limits={"header_seconds": 0.8, "body_seconds": 0.4, "idle_seconds": 1.0}) as server:
        connections = []
        for begun in slow:
            connections.append(server.socket())
            connections[-1].sendall(begun)
        answers = [read_all(connection) for connection in connections]
    for connection in connections:
        connection.close()
    assert answers[:3] == [b"", b"", b""]
    assert answers[3].startswith(b"HTTP/1.1 200 ")
    assert answers[3].count(b"HTTP/1.1 ") == 1
    assert answers[4].startswith(b"HTTP/1.1 408 ")


def test_what_is_no_http_is_answered_400_in_json(server):
    for noise in (
        b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET  /  HTTP/1.1\r\n\r\n",
        b"A" * 70_000,
    ):
        with server.socket() as connection:
            connection.sendall(noise)
            assert read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_more_requests_than_places_are_told_to_come_again(server):
    with httpx.Client(base_url=server.address, timeout=30, trust_env=False) as other:
        streams = [other.stream("POST", "/v1/completions", json=ENDLESS | {"stream": True}) for _ in range(3)]
        answers = [stream.__enter__() for stream in streams]
        lines = [answer.iter_lines() for answer in answers]
        for each in lines[:2]:
            assert next(each).startswith("data: ")
        refused = server.client.post("/v1/completions", json={"prompt": "a"})
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert server.client.get("/health").status_code == 200
        for stream in streams:
            stream.__exit__(None, None, None)
    wait_until(lambda: server.gauge("requests_now") == 0)
    assert len(server.complete("a", max_tokens=3)["choices"]) == 1


def test_a_client_that_goes_away_frees_its_slot(server):
    for stream in (True, False):
        left = server.service.metrics.left
        with server.socket() as connection:
            connection.sendall(request_bytes(ENDLESS | {"stream": stream}))
            wait_until(lambda: server.gauge("rows_running") == 1)
        wait_until(lambda: server.gauge("rows_running") == 0)
        wait_until(lambda: server.gauge("requests_now") == 0)
        assert server.service.metrics.left == left + 1


def test_connections_beyond_the_limit_are_answered_503(server):
    connections = [server.socket() for _ in range(13)]
    assert read_all(connections[-1]).startswith(b"HTTP/1.1 503 ")
    for connection in connections:
        connection.close()
    wait_until(lambda: server.client.get("/health").status_code == 200)


def test_an_answer_that_takes_too_long_is_ended_with_a_reason(tmp_path):
    with serve(tmp_path, limits=UNBOUNDED | {"request_seconds": 0.3}) as server:
        late = server.client.post("/v1/completions", json=ENDLESS)
        assert (late.status_code, late.json()["error"]["type"]) == (504, "server_error")
        with server.client.stream("POST", "/v1/completions", json=ENDLESS | {"stream": True}) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert "not ready within 0.3 s" in json.loads(lines[-1].removeprefix("data: "))["error"]["message"]
        wait_until(lambda: server.gauge("rows_running") == 0)


def test_a_reader_that_does_not_read_is_cut(tmp_path):
    wordy = ENDLESS | {"stream": True, "logprobs": 20, "explain": 20, "n": 8}
    with serve(tmp_path, limits=UNBOUNDED | {"send_seconds": 0.4}) as server, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(request_bytes(wordy))
        wait_until(lambda: server.service.metrics.left == 1)
        wait_until(lambda: server.gauge("rows_running") == 0)


def test_hostile_clients_leave_a_normal_one_served(tmp_path):
    limits = UNBOUNDED | {
        "slots": 4,
        "requests": 16,
        "connections": 96,
        "body_bytes": 50_000,
        "request_seconds": 1.0,
        "header_seconds": 1.0,
        "body_seconds": 1.0,
        "send_seconds": 1.0,
    }
    kinds = [
        b"",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n",
        request_bytes(b'{"prompt": "', length=40_000),
        request_bytes(ENDLESS | {"stream": True}),
        request_bytes(ENDLESS | {"n": 128}),
        request_bytes({"prompt": "a " * 20_000}),
        b"\x00\xff" * 2000,
        request_bytes({"input": "abc " * 4000, "top": 20, "stride": 1}, path="/v1/score"),
    ]
    with serve(tmp_path, limits=limits) as server:
        wanted = tiny_engine().generate("def ", max_tokens=8, seed=1, temperature=1.0).text
        stop = threading.Event()

        def hostile(kind):
            for _ in range(10):
                if stop.is_set():
                    return
                try:
                    with server.socket() as connection:
                        connection.sendall(kinds[kind % 8])
                        if kind % 16 < 8:  # the others never read
                            read_all(connection)
                        stop.wait(0.2)
                except OSError:
                    stop.wait(0.05)

        threads = [threading.Thread(target=hostile, args=(kind,)) for kind in range(64)]
        for thread in threads:
            thread.start()

        def served():
            """Whether the normal client got its text now, not the word to come again (a second is short on a busy machine)."""
            with httpx.Client(base_url=server.address, timeout=60, trust_env=False) as client:
                answer = client.post("/v1/completions", json={"prompt": "def ", "max_tokens": 8, "seed": 1})
            if answer.status_code != 200:
                assert answer.status_code in (429, 503, 504)
                return False
            assert answer.json()["choices"][0]["text"] == wanted
            return True

        for _ in range(2):
            wait_until(served)
        stop.set()
        for thread in threads:
            thread.join()
        wait_until(lambda: server.gauge("requests_now") == 0)
        wait_until(lambda: server.gauge("rows_running") == 0)
        wait_until(served)


def test_a_server_with_a_token_answers_nobody_without_it(tmp_path):
    with serve(tmp_path, token="open-sesame") as server:
        for given in (None, "Bearer wrong", "Bearer open-sesame2", "Bearer", "Bearer \u00e9"):
            headers = {} if given is None else {"authorization": given.encode()}
            answer = server.client.get("/v1/models", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert answer.headers["www-authenticate"] == "Bearer"
        right = {"authorization": "Bearer open-sesame"}
        assert server.client.get("/v1/models", headers=right).status_code == 200
        assert server.client.get("/metrics").status_code == 401
        for path in ("/", "/health"):
            assert server.client.get(path).status_code == 200


def test_a_page_elsewhere_cannot_use_a_server_on_loopback(server):
    for host, status in (("localhost", 200), ("127.0.0.1:1", 200), ("[::1]:80", 200), ("evil.example", 403)):
        assert server.client.get("/health", headers={"host": host}).status_code == status
    plain = server.client.post(
        "/v1/completions", content=b'{"prompt":"a"}', headers={"content-type": "text/plain"}
    )
    assert plain.status_code == 415  # so a browser asks first, and is given no leave
    asked = server.client.options("/v1/completions", headers={"origin": "https://evil.example"})
    assert not any(name.startswith("access-control") for name in asked.headers)


def test_an_address_that_others_can_reach_needs_a_token():
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "a.example")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    check_access("127.0.0.1", None)
    check_access("0.0.0.0", "token")
    with pytest.raises(ValueError, match="LM_GENERATE_TOKEN"):
        check_access("0.0.0.0", None)
    with pytest.raises(ValueError, match="slots must be above 0"):
        Limits(slots=0)


def test_models_are_loaded_when_asked_for_and_the_longest_unused_makes_room(tmp_path):
    seeds = {"one": 1, "two": 2, "three": 3}

    def load(folder):
        if folder.name == "bad":
            raise DamagedFileError("bad/model.safetensors: changed")
        return tiny_engine(seeds[folder.name])

    with serve(tmp_path, *seeds, "bad", load=load, limits=UNBOUNDED | {"loaded": 2}) as server:
        listed = server.client.get("/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["one", "two", "three", "bad"]
        for name in ("two", "one", "three", "two"):
            text = server.complete("a", model=name, max_tokens=6, seed=1)["choices"][0]["text"]
            assert text == tiny_engine(seeds[name]).generate("a", max_tokens=6, seed=1, temperature=1.0).text
        assert server.service.shelf.loaded == ["three", "two"]
        with (
            server.client.stream(
                "POST", "/v1/completions", json=ENDLESS | {"model": "two", "stream": True}
            ) as first,
            server.client.stream(
                "POST", "/v1/completions", json=ENDLESS | {"model": "three", "stream": True}
            ) as second,
        ):
            streams = [answer.iter_lines() for answer in (first, second)]
            for stream in streams:
                next(stream)
            full = server.client.post("/v1/completions", json={"prompt": "a", "model": "one"})
            assert (full.status_code, full.json()["error"]["type"]) == (503, "overloaded_error")
        wait_until(lambda: server.gauge("requests_now") == 0)
        damaged = server.client.post("/v1/completions", json={"prompt": "a", "model": "bad"})
        assert (damaged.status_code, "changed" in damaged.text) == (500, True)


def test_damaged_weights_are_a_fault_of_the_server(tmp_path):
    def load(_):
        engine = tiny_engine()
        engine.model.norm.weight.data.fill_(float("nan"))
        return engine

    with serve(tmp_path, load=load) as server:
        for path, body in (("completions", {"prompt": "a"}), ("score", {"input": "a b"})):
            answer = server.client.post(f"/v1/{path}", json=body)
            assert (answer.status_code, "weights are damaged" in answer.text) == (500, True)
        with server.client.stream("POST", "/v1/completions", json={"prompt": "a", "stream": True}) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert "weights are damaged" in json.loads(lines[-1].removeprefix("data: "))["error"]["message"]


def test_a_run_is_all_its_checkpoints_the_newest_first_and_new_ones_appear(tmp_path):
    run = save_run(tmp_path, "stories", 3, 12)
    shelf = Shelf([run], lambda folder: tiny_engine(), most=2)
    assert list(shelf.folders()) == ["stories/step-00000012", "stories/step-00000003"]
    save_run(tmp_path, "stories", 20)
    assert next(iter(shelf.folders())) == "stories/step-00000020"
    assert name_of(run / "checkpoints" / "step-00000003") == "stories/step-00000003"
    with pytest.raises(ValueError, match="would both be served as"):
        Shelf([run, run], lambda folder: tiny_engine(), most=2)


def test_metrics_are_prometheus_text(server):
    answer = server.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    sample = re.compile(r'lm_generate_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+')
    comment = re.compile(
        r"# (HELP lm_generate_[a-z_]+ .+\.|TYPE lm_generate_[a-z_]+ (counter|gauge|histogram))"
    )
    for line in answer.text.splitlines():
        assert sample.fullmatch(line) or comment.fullmatch(line), line
    buckets = [
        int(line.rsplit(" ", 1)[1])
        for line in answer.text.splitlines()
        if line.startswith("lm_generate_text_seconds_bucket")
    ]
    assert buckets == sorted(buckets)
