"""A safetensors file written while it is hashed: safetensors' own bytes, on the disk, and the entry of what is in it."""

import errno
import json
import os

import lm_core.tensor_writer as writer_module
import pytest
import torch
from lm_core.errors import ModelFolderError
from lm_core.manifest import digest_file, seal_folder
from lm_core.tensor_writer import NAMES, write_safetensors
from safetensors.torch import load_file, save_file

METADATA = {"format": "pt"}


def tensors_of_every_kind():
    drawn = torch.Generator().manual_seed(0)
    kinds = {f"of {dtype}": torch.randint(0, 2, (3, 5), generator=drawn).to(dtype) for dtype in NAMES}
    return kinds | {'ünicode "and" \n': torch.tensor(1.5), "none": torch.zeros(0, 4), "a.b": torch.ones(7)}


def test_the_file_is_byte_for_byte_the_one_that_safetensors_writes(tmp_path):
    tensors = tensors_of_every_kind()
    entry = write_safetensors(tmp_path / "ours", tensors, METADATA)
    save_file(tensors, tmp_path / "theirs", metadata=METADATA)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert entry == digest_file(tmp_path / "theirs")


def test_pieces_and_short_writes_make_the_same_file(tmp_path, monkeypatch):
    tensors = {"a": torch.arange(1000.0), "b": torch.arange(77)}
    whole = write_safetensors(tmp_path / "whole", tensors, METADATA)
    monkeypatch.setattr(writer_module, "AT_ONCE", 100)
    monkeypatch.setattr(writer_module, "SYNC_EVERY", 1000)

    class Short:
        """A file that takes at most 33 bytes at a time, as a full pipe or a signal makes it."""

        def __init__(self, path, *_, **__):
            self.file = open(path, "xb", buffering=0)  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, piece):
            return self.file.write(piece[:33])

        def fileno(self):
            return self.file.fileno()

    monkeypatch.setattr(writer_module, "open", Short, raising=False)
    assert write_safetensors(tmp_path / "pieces", tensors, METADATA) == whole
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


def test_it_is_on_the_disk_before_its_entry_is_known(tmp_path, monkeypatch):
    lengths = []
    monkeypatch.setattr(os, "fsync", lambda file: lengths.append(os.fstat(file).st_size))
    entry = write_safetensors(tmp_path / "a", {"a": torch.ones(1000)}, METADATA)
    assert lengths[-1] == entry.bytes


def test_an_early_fsync_that_fails_is_not_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "AT_ONCE", 64)
    monkeypatch.setattr(writer_module, "SYNC_EVERY", 64)
    calls = []

    def fails_once(file):
        calls.append(file)
        if len(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails_once)
    with pytest.raises(OSError, match="Input/output error"):
        write_safetensors(tmp_path / "a", {"a": torch.ones(1000)}, METADATA)


def test_a_file_that_is_there_is_left_as_it_is(tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_safetensors(tmp_path / "a", {"a": torch.ones(2)}, METADATA)
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_a_view_and_a_parameter_are_written_by_their_values(tmp_path):
    table = torch.arange(12.0).view(4, 3)
    write_safetensors(tmp_path / "a", {"rows": table[1:3], "weight": torch.nn.Parameter(table)}, METADATA)
    found = load_file(tmp_path / "a")
    assert torch.equal(found["rows"], table[1:3])
    assert torch.equal(found["weight"], table)


def test_the_manifest_takes_the_entry_of_the_writer_and_looks_at_the_length_only(tmp_path):
    entry = write_safetensors(tmp_path / "a", {"a": torch.ones(2)}, METADATA)
    (tmp_path / "b").write_text("small", encoding="utf-8")
    sealed = seal_folder(tmp_path, kind="model", facts={}, written={"a": entry})
    assert sealed.files == {"a": entry, "b": digest_file(tmp_path / "b")}
    assert json.loads((tmp_path / "manifest.json").read_text())["files"]["a"]["sha256"] == entry.sha256


def test_a_file_that_grew_since_it_was_written_is_named(tmp_path):
    entry = write_safetensors(tmp_path / "a", {"a": torch.ones(2)}, METADATA)
    with (tmp_path / "a").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ModelFolderError, match=r"a has .* bytes and .* were written; let nothing else"):
        seal_folder(tmp_path, kind="model", facts={}, written={"a": entry})
