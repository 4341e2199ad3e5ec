"""Many files to many files of ids: each as `encode_file` makes it, and what is whole is not made again."""

import json
import os
import shutil
from pathlib import Path

import pytest
from lm_tokenizer import FileAccessError, Progress, Tokenizer, TokenizerError
from trained import END, trained

TEXTS = ["First one.", f"Second,{END}longer one.", "", "日本語"]
GOLDEN = Path(__file__).parent / "golden" / "shard-0.1.json"


def sources(folder: Path) -> list[Path]:
    made = [folder / f"{index}.txt" for index in range(len(TEXTS))]
    for path, text in zip(made, TEXTS, strict=True):
        path.write_text(text)
    return made


def moments(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def test_each_shard_is_what_encode_file_makes_of_its_source(tmp_path: Path):
    files, options = sources(tmp_path), {"separator": END, "append": END}
    shards = trained().encode_shards(files, tmp_path / "shards", ends=True, **options)
    for index, (source, shard) in enumerate(zip(files, shards, strict=True)):
        alone = trained().encode_file(source, tmp_path / "ids", ends=tmp_path / "ends", **options)
        name = tmp_path / "shards" / f"{index:05}"
        assert shard == alone._replace(target=f"{name}.bin")
        assert name.with_suffix(".bin").read_bytes() == (tmp_path / "ids").read_bytes()
        assert name.with_suffix(".idx").read_bytes() == (tmp_path / "ends").read_bytes()


def test_shards_that_are_whole_are_kept_after_a_stop(tmp_path: Path):
    files, folder = sources(tmp_path), tmp_path / "shards"

    def stop(progress: Progress) -> None:
        if progress.done > len(TEXTS[0]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained().encode_shards(files, folder, progress=stop)
    begun = moments(folder)
    assert sorted(begun) == ["00000.bin", "00000.json"]
    seen: list[Progress] = []
    shards = trained().encode_shards(files, folder, progress=seen.append)
    after = moments(folder)
    assert {name: after[name] for name in begun} == begun
    assert len(after) == 8
    assert seen[-1] == ("encoding", sum(len(text.encode()) for text in TEXTS), seen[-1].done)
    assert trained().encode_shards(files, folder) == shards
    assert moments(folder) == after


def test_a_shard_of_anything_that_has_changed_is_made_anew(tmp_path: Path):
    files, folder = sources(tmp_path), tmp_path / "shards"

    def made_anew(**options: object) -> list[str]:
        before = moments(folder)
        (trained("cl100k") if options.pop("other", False) else trained()).encode_shards(
            files, folder, **options
        )  # type: ignore[arg-type]
        return sorted(name for name, place in moments(folder).items() if before.get(name) != place)

    everything = [f"0000{index}.{kind}" for index in range(4) for kind in ("bin", "json")]
    trained().encode_shards(files, folder)
    assert made_anew() == []
    files[1].write_text("another text")
    assert made_anew() == ["00001.bin", "00001.json"]
    (folder / "00002.bin").write_bytes(b"too long")
    (folder / "00003.json").write_text('{"format": 1')
    assert made_anew() == ["00002.bin", "00002.json", "00003.bin", "00003.json"]
    assert made_anew(append=END) == everything
    assert made_anew(append=END, dtype="uint32") == everything
    assert made_anew(other=True) == everything


def test_a_seal_of_format_0_1_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    record = json.loads(GOLDEN.read_text())
    Path("text.txt").write_text("The sea.")
    os.utime("text.txt", ns=(record["source_modified_ns"],) * 2)
    Path("shards").mkdir()
    Path("shards/00000.bin").write_bytes(bytes(record["shard"]["bytes"]))
    shutil.copy(GOLDEN, "shards/00000.json")
    [shard] = Tokenizer.load(GOLDEN.with_name("bpe-0.1.json")).encode_shards(["text.txt"], "shards")
    assert shard._asdict() == record["shard"] | {"target": os.path.join("shards", "00000.bin")}


def test_what_cannot_be_a_shard_is_refused(tmp_path: Path):
    with pytest.raises(TokenizerError, match="standard input cannot be encoded again"):
        trained().encode_shards(["-"], tmp_path)
    with pytest.raises(FileAccessError, match="absent: No such file"):
        trained().encode_shards([tmp_path / "absent"], tmp_path / "shards")
