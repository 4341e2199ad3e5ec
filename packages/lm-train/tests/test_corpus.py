"""Which folder the data of a run goes to, and which tokenizer a name means."""

from dataclasses import replace

import pytest
from lm_tokenizer import Tokenizer
from lm_train import TokenDataset, cli
from lm_train.config import TrainConfig
from lm_train.corpus import dataset_name, into_free_folder, open_corpus, stem
from lm_train.errors import DatasetError, OtherDatasetError
from lm_train.view.display import Silent

TEXT = "a small text of some words, and then some other words. " * 200


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "My Text.txt").write_text(TEXT)
    return tmp_path


CONFIG = TrainConfig(data="My Text.txt", vocab_size=300)


def test_a_dataset_is_named_after_its_text_and_vocabulary():
    assert stem("books/All of it.txt.gz") == "all-of-it"
    assert stem("-") == "stdin"
    assert dataset_name(["a.txt", "b.jsonl"], 4096) == "a-b-4096"
    assert dataset_name(["stories:1mb"], "characters") == "stories-1mb-characters"
    assert len(dataset_name(["x" * 300], 4096)) < 80


def test_the_same_text_is_prepared_once(home):
    first, _ = open_corpus(CONFIG, Silent())
    written = (first.folder / "dataset.json").stat().st_mtime_ns
    again, _ = open_corpus(CONFIG, Silent())
    assert again.folder == first.folder
    assert again.folder.name == "my-text-300"
    assert (again.folder / "dataset.json").stat().st_mtime_ns == written


def test_a_text_that_changed_gets_a_folder_of_its_own_and_is_found_again(home):
    first, _ = open_corpus(CONFIG, Silent())
    (home / "My Text.txt").write_text(TEXT + "and it grew")
    second, _ = open_corpus(CONFIG, Silent())
    assert second.folder.name == "my-text-300-2"
    assert open_corpus(CONFIG, Silent())[0].folder == second.folder
    (home / "My Text.txt").write_text(TEXT)
    assert open_corpus(CONFIG, Silent())[0].folder == first.folder


def test_a_folder_that_is_no_dataset_is_not_worked_around(home):
    (home / "datasets/my-text-300").mkdir(parents=True)
    (home / "datasets/my-text-300/notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is no token dataset"):
        open_corpus(CONFIG, Silent())


def test_the_first_free_folder_is_taken(tmp_path):
    tried = []

    def make(folder):
        tried.append(folder.name)
        if len(tried) < 3:
            raise OtherDatasetError("taken")
        return folder

    assert into_free_folder(tmp_path / "x-300", make) == tmp_path / "x-300-3"
    assert tried == ["x-300", "x-300-2", "x-300-3"]


def test_a_tokenizer_from_a_file_names_the_dataset_by_its_fingerprint(home):
    tokenizer = Tokenizer.train(texts=[TEXT], vocab_size=280, special_tokens=())
    tokenizer.save(home / "tokenizer.json")
    dataset, read = open_corpus(replace(CONFIG, tokenizer="tokenizer.json"), Silent())
    assert dataset.folder.name == f"my-text-{tokenizer.fingerprint[:8]}"
    assert read.fingerprint == tokenizer.fingerprint
    assert dataset.end_of_text is None  # this tokenizer has no token for it


def test_prepare_without_out_makes_the_folder_that_train_will_use(home, capsys):
    assert cli.run(["prepare", "My Text.txt", "--vocab-size", "300"]) == 0
    assert "--data datasets/my-text-300" in capsys.readouterr().out
    written = (home / "datasets/my-text-300/dataset.json").stat().st_mtime_ns
    dataset, _ = open_corpus(CONFIG, Silent())
    assert (dataset.folder / "dataset.json").stat().st_mtime_ns == written


def test_prepare_takes_what_separates_documents_and_what_ends_them_from_flags(home):
    paragraphs = [f"A paragraph about {word}.\nIts second line." for word in ("bread", "rain", "a lamp") * 20]
    (home / "paragraphs.txt").write_text("\n\n".join(paragraphs))
    given = ["prepare", "paragraphs.txt", "--vocab-size", "300", "--separator", r"\n\n"]
    assert cli.run([*given, "--out", "ended", "--end-of-text", "<|end|>"]) == 0
    ended = TokenDataset(home / "ended")
    assert documents_of(ended) == len(paragraphs)
    assert ended.load_tokenizer().decode([ended.end_of_text]) == "<|end|>"
    assert cli.run([*given, "--out", "open", "--end-of-text", ""]) == 0
    assert documents_of(TokenDataset(home / "open")) == len(paragraphs)
    assert TokenDataset(home / "open").end_of_text is None
    assert cli.run([*given[:4], "--separator", "", "--out", "one"]) == 0
    assert documents_of(TokenDataset(home / "one")) == 2  # the file, whose end is held out


def documents_of(dataset):
    return sum(shard.documents for shards in dataset.info.splits.values() for shard in shards.values())


def test_prepare_without_a_text_says_what_to_name(home, capsys):
    assert cli.run(["prepare"]) == 2
    assert "no text to prepare: name files, folders or a text" in capsys.readouterr().err
