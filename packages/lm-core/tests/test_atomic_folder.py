import errno
import os
import random
import subprocess
import sys
import time

import pytest
from lm_core.atomic_folder import (
    DiskFullError,
    FolderExistsError,
    fsync_folder,
    new_folder,
    write_file_atomically,
)
from lm_core.manifest import verify_folder
from manifest_examples import COMMIT_FOREVER, make_sealed_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_target_appears_only_when_the_block_is_left(tmp_path):
    target = tmp_path / "runs" / "a"
    with new_folder(target) as folder:
        assert folder.parent == target.parent
        assert folder.name.startswith(".tmp-a-")
        (folder / "file").write_bytes(b"x")
        assert not target.exists()
    assert names(target.parent) == ["a"]
    assert (target / "file").read_bytes() == b"x"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_the_block_fails(tmp_path, error):
    with pytest.raises(error), new_folder(tmp_path / "a") as folder:  # noqa: PT012
        (folder / "file").write_bytes(b"x")
        raise error
    assert names(tmp_path) == []


def test_an_existing_target_is_refused_before_and_after_writing(tmp_path):
    (tmp_path / "a" / "old").mkdir(parents=True)
    with (
        pytest.raises(FolderExistsError, match="a exists already; choose another name or remove it first"),
        new_folder(tmp_path / "a"),
    ):
        pytest.fail("the block must not run")
    with pytest.raises(FolderExistsError), new_folder(tmp_path / "b"):
        (tmp_path / "b").write_text("another's")
    assert names(tmp_path) == ["a", "b"]
    assert names(tmp_path / "a") == ["old"]
    assert (tmp_path / "b").read_text() == "another's"


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    (tmp_path / "a").mkdir()
    with new_folder(tmp_path / "a") as folder:
        (folder / "file").write_bytes(b"x")
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["file"]


def test_replace_puts_the_new_folder_in_the_place_of_the_old(tmp_path):
    for content in ["old", "new"]:
        with new_folder(tmp_path / "a", replace=True) as folder:
            (folder / content).touch()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["new"]


def test_a_replacement_that_fails_leaves_the_old_folder(tmp_path, monkeypatch):
    (tmp_path / "a" / "old").mkdir(parents=True)
    renames = iter([os.rename, None, os.rename])

    def second_fails(source, target, rename=os.rename):
        if next(renames) is None:
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OSError, match="no"), new_folder(tmp_path / "a", replace=True):
        pass
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["old"]


@pytest.mark.parametrize("call", range(1, 9))
@pytest.mark.parametrize("name", ["fsync", "open", "rename", "replace"])
def test_a_failure_at_the_nth_file_operation_leaves_a_whole_folder_or_none(tmp_path, monkeypatch, name, call):
    calls, real = 0, getattr(os, name)

    def nth_fails(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.EIO, "Input/output error")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, nth_fails)
        failed = False
        try:
            make_sealed_folder(tmp_path / "a")
        except OSError:
            failed = True
    assert failed == (calls >= call)
    assert names(tmp_path) in ([], ["a"])
    assert failed or verify_folder(tmp_path / "a")


def test_a_full_disk_is_said_with_the_free_bytes_whoever_notices_it(tmp_path):
    class SafetensorError(Exception):
        pass

    for error in [
        OSError(errno.ENOSPC, "x"),
        OSError(errno.EDQUOT, "x"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ]:
        with (
            pytest.raises(
                DiskFullError, match=r"the disk is full: could not write .*a; [0-9,]+ bytes are free"
            ) as caught,
            new_folder(tmp_path / "a"),
        ):
            raise error
        assert caught.value.errno == errno.ENOSPC
        assert names(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the Linux device that is always full")
def test_a_device_that_is_really_full_is_noticed(tmp_path):
    with (
        pytest.raises(DiskFullError),
        new_folder(tmp_path / "a"),
        open("/dev/full", "wb", buffering=0) as file,
    ):
        file.write(b"x")


def test_more_bytes_than_the_disk_has_free_are_refused_at_the_start(tmp_path):
    with (
        pytest.raises(
            DiskFullError,
            match=r"1,000,000,000,000,000,000 bytes are needed, [0-9,]+ are free; free some space",
        ),
        new_folder(tmp_path / "a", expected_bytes=10**18),
    ):
        pytest.fail("the block must not run")
    assert names(tmp_path) == []


def test_a_folder_fsync_that_the_file_system_does_not_know_is_tolerated_and_a_failed_one_is_not(
    tmp_path, monkeypatch
):
    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    for code in [errno.EINVAL, errno.ENOTSUP]:
        fsync_folder(tmp_path)
        with pytest.raises(OSError, match=os.strerror(code)):
            write_file_atomically(tmp_path / "file", b"x")
    code = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        fsync_folder(tmp_path)


def test_whatever_is_committed_when_the_writer_is_killed_verifies(tmp_path):
    moments, committed, partial = random.Random(0), 0, 0
    for attempt in range(25):
        target = tmp_path / str(attempt)
        child = subprocess.Popen([sys.executable, "-c", COMMIT_FOREVER, str(target)], stdout=subprocess.PIPE)
        with child:
            for step in range(moments.randint(1, 4)):
                assert child.stdout.readline() == b"%d\n" % step
            time.sleep(moments.uniform(0, 0.01))
            child.kill()
        for folder in target.iterdir() if target.exists() else ():
            if folder.name.startswith(".tmp-"):
                partial += 1
            else:
                committed += 1
                assert verify_folder(folder).kind == "checkpoint"
    assert committed
    assert partial
