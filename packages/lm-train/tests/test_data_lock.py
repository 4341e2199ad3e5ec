import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from lm_train.errors import BusyFolderError, LmTrainError
from lm_train.lock import lock_path, locked

HOLDER = """
import sys, time
from lm_train.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "books"], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path, holder):
    message = rf"books is being written by process {holder.pid} on \S+, since \d{{4}}-.*; wait for it to end, stop it, or choose"
    with pytest.raises(BusyFolderError, match=message), locked(tmp_path / "books"):
        pass


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert lock_path(tmp_path / "books").exists()
    with locked(tmp_path / "books"):
        assert re.search(rf"process {os.getpid()} ", lock_path(tmp_path / "books").read_text())


def test_a_full_disk_is_locked_all_the_same(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refused)
    with locked(tmp_path / "books"), pytest.raises(BusyFolderError, match="by another process"):  # noqa: SIM117
        with locked(tmp_path / "books"):
            pass


def test_the_lock_leaves_nothing_behind(tmp_path):
    with locked(tmp_path / "new" / "books"):
        assert lock_path(tmp_path / "new" / "books").exists()
    assert list((tmp_path / "new").iterdir()) == []


def test_it_excludes_a_second_call_in_the_same_process(tmp_path):
    with locked(tmp_path / "x"), pytest.raises(BusyFolderError), locked(tmp_path / "x"):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(LmTrainError, match=r"cannot write into .*file: .*; choose another place"),
        locked(tmp_path / "file" / "x"),
    ):
        pass


def test_other_folders_are_free(tmp_path):
    with locked(tmp_path / "x"), locked(tmp_path / "y"):
        pass


def test_many_waiting_threads_hold_it_one_at_a_time(tmp_path):
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        for _ in range(3):
            with locked(tmp_path / "x", wait=True):
                inside += 1
                most = max(most, inside)
                time.sleep(0.002)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == []
