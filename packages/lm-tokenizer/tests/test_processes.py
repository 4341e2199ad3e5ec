"""Threads, forks, signals and hard texts: the same ids, no hang, no partial file, no time that grows faster than text."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sample_texts
from trained import trained

TEXTS = [sample_texts.ALL_KINDS * 2, *sample_texts.random_texts(50, seed=8)] * 4


def test_python_threads_share_a_tokenizer():
    tokenizer = trained()
    expected = tokenizer.encode_batch(TEXTS, disallowed_special=())
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda: results.append(tokenizer.encode_batch(TEXTS, disallowed_special=())))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8


@pytest.mark.parametrize("cpus", [1, 2])
def test_the_number_of_processors_does_not_show(cpus: int, tmp_path: Path):
    available = sorted(os.sched_getaffinity(0))
    if len(available) < cpus:
        pytest.skip(f"this machine lets us use {len(available)} processors")
    text = tmp_path / "text"
    text.write_text(sample_texts.ALL_KINDS * 400)
    script = (
        "import os, sys; os.sched_setaffinity(0, {" + ",".join(map(str, available[:cpus])) + "})\n"
        "from lm_tokenizer import Tokenizer\n"
        "tok = Tokenizer.train(files=[sys.argv[1]], vocab_size=400)\n"
        "print(tok.fingerprint, tok.encode_file(sys.argv[1], sys.argv[1] + '.ids').sha256)\n"
    )
    run = subprocess.run([sys.executable, "-c", script, text], capture_output=True, text=True, check=True)
    tokenizer = trained().train(files=[text], vocab_size=400)
    assert run.stdout.split() == [tokenizer.fingerprint, tokenizer.encode_file(text, tmp_path / "ids").sha256]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_encodes_after_its_parent_did():
    tokenizer = trained()
    expected = tokenizer.encode_batch(TEXTS, disallowed_special=())
    child = os.fork()
    if child == 0:
        same = tokenizer.encode_batch(TEXTS, disallowed_special=()) == expected
        os._exit(0 if same else 1)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the forked child hung")


CTRL_C = {
    "train": "Tokenizer.train(texts=('%x ' % (i * 2654435761 % 2**32) * 3 for i in range(5_000_000)), vocab_size=2_000_000)",
    "encode_file": "tok.encode_file(['text'] * 100_000, 'ids')",
    "encode_batch": "tok.encode_batch([text] * 3_000)",
    "encode": "tok.encode(text * 3_000)",
    "add_files": "PretokenCounts().add_files(['text'] * 100_000)",
}


@pytest.mark.parametrize("work", CTRL_C)
def test_ctrl_c_ends_long_work_and_leaves_no_file(work: str, tmp_path: Path):
    (tmp_path / "text").write_text(sample_texts.ALL_KINDS * 20)
    trained().save(tmp_path / "tokenizer.json")
    script = (
        "import time\n"
        "from lm_tokenizer import PretokenCounts, Tokenizer\n"
        "tok = Tokenizer.load('tokenizer.json')\n"
        "text = open('text').read()\n"
        "print('ready', flush=True)\n"
        f"try: {CTRL_C[work]}\n"
        "except KeyboardInterrupt: print('stopped', flush=True)\n"
        "else: print('finished too early', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    try:
        assert child.stdout.readline() == "stopped\n"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text", "tokenizer.json"]


@pytest.mark.parametrize("name", sample_texts.WORST)
@pytest.mark.parametrize("pattern", ["gpt2", "o200k"])
def test_hard_texts_take_time_that_grows_with_their_length_only(name: str, pattern: str):
    # Four times the text within 12 times the time of this thread: quadratic work would take 16 times and, at this length,
    # minutes. The least time that counts is what the ids' memory costs to touch.
    tokenizer = trained(pattern)

    def seconds(length: int) -> float:
        text = sample_texts.WORST[name] * length
        times = []
        for _ in range(3):
            start = time.thread_time()
            ids = tokenizer.encode_ordinary(text)
            times.append(time.thread_time() - start)
        assert tokenizer.decode(ids) == text
        return min(times)

    seconds(1000)
    assert seconds(400_000) <= 12 * max(seconds(100_000), 0.004)
