import errno
import hashlib
import os
from pathlib import Path

import pytest
from lm_core.errors import DamagedFileError, ModelFolderError
from lm_core.manifest import (
    FileEntry,
    Manifest,
    check_file,
    digest_file,
    read_manifest,
    seal_folder,
    verify_folder,
    write_sealed_json,
)
from manifest_examples import FILES, make_sealed_folder

GOLDEN = Path(__file__).parent / "golden" / "manifest-v1"


@pytest.fixture
def sealed(tmp_path):
    return make_sealed_folder(tmp_path / "model")


def payload(**changes):
    return {
        "format": "lm-core manifest",
        "format_version": 1,
        "kind": "model",
        "facts": {},
        "files": {},
        "written_by": "lm-core 0.1.0",
    } | changes


def test_a_sealed_folder_verifies_and_gives_back_its_facts(sealed):
    manifest = verify_folder(sealed)
    assert manifest == read_manifest(sealed)
    assert (manifest.kind, manifest.format_version, manifest.facts) == (
        "model",
        1,
        {"step": 7, "text": "grün"},
    )
    assert manifest.files == {
        name: FileEntry(len(content), hashlib.sha256(content).hexdigest()) for name, content in FILES.items()
    }
    assert list(manifest.files) == sorted(manifest.files)


def test_the_golden_folder_of_format_version_1_still_verifies():
    assert verify_folder(GOLDEN) == Manifest(
        kind="model",
        format_version=1,
        facts={"step": 3, "tokenizer_fingerprint": "00ff", "lr": 0.001},
        files={
            "config.json": FileEntry(17, "a6fe908a555043dfea7a8de213029720ddc877ab555e68c6be7387ef7c35978a"),
            "state/steps.bin": FileEntry(
                4, "9d9f290527a6be626a8f5985b26e19b237b44872b03631811df4416fc1713178"
            ),
        },
    )


def test_the_manifest_of_the_same_folder_has_the_same_bytes(sealed, tmp_path):
    again = make_sealed_folder(tmp_path / "again")
    assert (again / "manifest.json").read_bytes() == (sealed / "manifest.json").read_bytes()


@pytest.mark.parametrize("name", [*[name for name in FILES if FILES[name]], "manifest.json"])
def test_any_flipped_bit_of_any_byte_is_reported_with_the_name_of_the_file(sealed, name):
    path = sealed / name
    original = path.read_bytes()
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(DamagedFileError, match=str(path)):
            verify_folder(sealed)
    path.write_bytes(original)
    assert verify_folder(sealed)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_longer_or_shorter_file_is_reported_by_its_size_alone(sealed, name):
    path = sealed / name
    original = path.read_bytes()
    for changed in [original + b"\0", original[:-1], original[: len(original) // 2], b""]:
        if changed != original:
            path.write_bytes(changed)
            with pytest.raises(DamagedFileError, match=str(path)):
                verify_folder(sealed, hashes=False)


def test_swapped_files_of_equal_length_are_both_reported(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    seal_folder(tmp_path, kind="model", facts={})
    (tmp_path / "a").rename(tmp_path / "c")
    (tmp_path / "b").rename(tmp_path / "a")
    (tmp_path / "c").rename(tmp_path / "b")
    assert verify_folder(tmp_path, hashes=False)
    with pytest.raises(DamagedFileError) as caught:
        verify_folder(tmp_path)
    assert [line.split(" is damaged: its SHA-256 is ")[0] for line in str(caught.value).split("\n")] == [
        str(tmp_path / "a"),
        str(tmp_path / "b"),
    ]


def test_a_missing_file_is_reported_by_name(sealed):
    (sealed / "config.json").unlink()
    with pytest.raises(DamagedFileError, match=r"config\.json is missing; restore it from a good copy$"):
        verify_folder(sealed, hashes=False)


@pytest.mark.parametrize("name", ["extra.bin", "state/.metadata", "new/manifest.json"])
def test_a_file_added_after_sealing_is_reported_by_name(sealed, name):
    (sealed / name).parent.mkdir(exist_ok=True)
    (sealed / name).write_bytes(b"x")
    with pytest.raises(
        DamagedFileError, match=f"{name} was added after the folder was sealed; remove it, or seal"
    ):
        verify_folder(sealed)
    seal_folder(sealed, kind="model", facts={})
    assert name in verify_folder(sealed).files


def test_litter_and_a_model_card_may_be_added(sealed):
    (sealed / ".tmp-x-1").mkdir()
    for name in [".tmp-x-1/part", "state/.DS_Store", ".gitattributes", "README.md"]:
        (sealed / name).write_bytes(b"x")
    assert verify_folder(sealed)


def test_a_folder_without_a_manifest_is_foreign_and_one_that_is_not_there_is_an_error(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert read_manifest(tmp_path) is None
    assert verify_folder(tmp_path) is None
    with pytest.raises(ModelFolderError, match=r"^there is no folder .*absent; give one"):
        verify_folder(tmp_path / "absent")


def test_a_newer_format_is_refused_with_the_version_to_install(tmp_path):
    write_sealed_json(
        tmp_path / "manifest.json", payload(format_version=2, written_by="lm-core 0.7.0", new="?")
    )
    with pytest.raises(
        ModelFolderError,
        match=r"has format version 2 and this is lm-core .*, which reads up to 1; install lm-core 0.7.0 or later",
    ):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/.",
        "",
        "C:\\x",
        "C:x",
        "a\\b",
        "a\nb",
        "manifest.json",
    ],
)
def test_a_name_that_is_not_a_plain_relative_path_is_refused(tmp_path, name):
    entry = {"bytes": 1, "sha256": "0" * 64}
    write_sealed_json(tmp_path / "manifest.json", payload(files={name: entry}))
    with pytest.raises(DamagedFileError, match="is not a valid manifest: the file name"):
        verify_folder(tmp_path)
    with pytest.raises(DamagedFileError, match="no file outside the folder is read"):
        check_file(tmp_path, name, FileEntry(1, "0" * 64))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"format_version": "1"},
        {"format_version": True},
        {"format_version": 0},
        {"kind": 3},
        {"facts": []},
        {"files": []},
        {"files": {"a": 3}},
        {"files": {"a": {"bytes": 1}}},
        {"files": {"a": {"bytes": -1, "sha256": "0" * 64}}},
        {"files": {"a": {"bytes": True, "sha256": "0" * 64}}},
        {"files": {"a": {"bytes": 1, "sha256": "0" * 63 + "G"}}},
        {"written_by": None},
    ],
)
def test_a_well_sealed_file_that_is_no_manifest_is_refused_by_name(tmp_path, changes):
    write_sealed_json(tmp_path / "manifest.json", payload(**changes))
    with pytest.raises(DamagedFileError, match=r"manifest\.json is not a"):
        read_manifest(tmp_path)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(sealed, tmp_path):
    outside = tmp_path / "outside"
    (sealed / "config.json").rename(outside)
    (sealed / "config.json").symlink_to(outside)
    with pytest.raises(DamagedFileError, match=r"config\.json is a link that leaves the folder"):
        verify_folder(sealed)
    with pytest.raises(DamagedFileError, match=r"config\.json is a link that leaves the folder"):
        seal_folder(sealed, kind="model", facts={})
    (sealed / "config.json").unlink()
    outside.rename(sealed / ".cache")  # litter is not reported, so the link's target may lie there
    (sealed / "config.json").symlink_to(".cache")
    assert verify_folder(sealed)


def test_a_link_to_a_folder_and_links_in_a_circle_are_refused(sealed, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (sealed / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedFileError, match="linked was added after the folder was sealed"):
        verify_folder(sealed)
    (sealed / "linked").unlink()
    (sealed / "config.json").unlink()
    (sealed / "config.json").symlink_to("config.json")
    with pytest.raises(DamagedFileError, match=r"config\.json"):
        verify_folder(sealed)


def test_the_links_of_a_hugging_face_cache_are_followed(sealed, tmp_path):
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    for name in [*FILES, "manifest.json"]:
        blob = blobs / name.replace("/", "-")
        (sealed / name).rename(blob)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))
    assert verify_folder(snapshot).facts["step"] == 7


def test_a_pipe_is_not_sealed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFolderError, match="pipe is not a regular file"):
        seal_folder(tmp_path, kind="model", facts={})


def test_a_name_that_windows_could_not_hold_is_not_sealed(tmp_path):
    (tmp_path / "a:b").write_bytes(b"")
    with pytest.raises(
        ModelFolderError, match="a:b: the name has a backslash, a colon or a control character"
    ):
        seal_folder(tmp_path, kind="model", facts={})


def test_sealing_waits_for_the_disk_and_an_fsync_that_fails_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x")

    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        seal_folder(tmp_path, kind="model", facts={})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    content = os.urandom(300_001)
    (tmp_path / "file").write_bytes(content)
    assert digest_file(tmp_path / "file") == FileEntry(300_001, hashlib.sha256(content).hexdigest())
