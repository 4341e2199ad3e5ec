"""Every format of `workspace.toml`, read by the packages that say they read it, and by the programs of others."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_core import ModelConfig, Transformer, load_model, save_model
from lm_core.errors import LmCoreError
from lm_generate import LmGenerateError, load
from lm_tokenizer import Tokenizer
from lm_train import TokenDataset, prepare

ROOT = Path(__file__).resolve().parent.parent
FORMATS = tomllib.loads((ROOT / "workspace.toml").read_text(encoding="utf-8"))["formats"]

TEXT = "def f(x):\n    return x  # größer, 中文, 🙂\n\nIt's the quick brown fox's 1,234 jumps.\n\n" * 20


def golden(name: str) -> Path:
    entry = FORMATS[name]
    return ROOT / entry["golden"].format(version=entry["version"])


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(texts=[TEXT], vocab_size=320, special_tokens=("<|endoftext|>",))


@pytest.fixture(scope="module")
def model_folder(tokenizer, tmp_path_factory):
    """A model and its tokenizer as one folder, saved as lm-train saves them."""
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        context=64,
        d_model=32,
        n_layers=2,
        n_heads=2,
        d_ff=64,
        qk_norm=True,
        init="gpt2",
    )
    folder = tmp_path_factory.mktemp("model") / "tiny"
    facts = {"tokenizer_fingerprint": tokenizer.fingerprint}
    save_model(Transformer(config, seed=1), folder, facts=facts, add_files=tokenizer.save)
    return folder


def test_the_frozen_tokenizer_still_loads():
    tok = Tokenizer.load(golden("tokenizer-file"))
    assert tok.decode(tok.encode_ordinary(TEXT)) == TEXT


def test_the_frozen_dataset_still_reads_with_its_tokenizer():
    dataset = TokenDataset(golden("dataset"))
    text = dataset.load_tokenizer().decode(dataset.read("train", 0, dataset.tokens("train")).tolist())
    assert len(text) > 0


def test_the_frozen_model_still_loads():
    model = load_model(golden("model-folder"))
    assert model(torch.zeros(1, 3, dtype=torch.int64)).shape == (1, 3, model.config.vocab_size)


def test_the_frozen_run_still_writes_text():
    engine = load(golden("run-folder"))
    assert len(engine.generate("a", max_tokens=4, temperature=0).ids) == 4


def test_hugging_faces_tokenizers_read_our_tokenizer_with_equal_ids(tokenizer, tmp_path):
    import tokenizers

    tokenizer.save(tmp_path / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.encode(TEXT).ids == tokenizer.encode(TEXT)
    assert theirs.encode("a<|endoftext|>b").ids == tokenizer.encode("a<|endoftext|>b", allowed_special="all")


def test_transformers_loads_a_folder_of_ours_and_writes_the_same_tokens(model_folder, tokenizer):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    ours = load(model_folder)
    ids = AutoTokenizer.from_pretrained(model_folder)("def f(x):")["input_ids"]
    assert ids == tokenizer.encode("def f(x):")
    with torch.no_grad():
        difference = theirs(torch.tensor([ids])).logits - ours.model(torch.tensor([ids]))
        written = theirs.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False, pad_token_id=0)
    assert difference.abs().max() <= 1e-5
    greedy = ours.generate(ids, max_tokens=20, temperature=0, stop_ids=())
    assert written[0, len(ids) :].tolist() == list(greedy.ids)


def test_a_llama_of_transformers_loads_here_with_equal_logits(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=300, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    theirs = LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    ids = torch.arange(40)[None] * 7 % 300
    with torch.no_grad():
        difference = theirs(ids).logits - load_model(tmp_path)(ids)
    assert difference.abs().max() <= 1e-5


def test_nanogpt_style_code_reads_our_token_file_as_it_is(tmp_path):
    text = tmp_path / "a.txt"
    text.write_text(TEXT, encoding="utf-8")
    dataset = prepare(text, tmp_path / "data", vocab_size=300)
    plain = np.memmap(tmp_path / "data" / "train-00000.bin", dtype="<u2", mode="r")
    assert len(plain) == dataset.tokens("train")
    assert np.array_equal(plain, dataset.read("train", 0, len(plain)))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "manifest.json"])
def test_one_changed_byte_of_a_model_folder_is_named_before_use(model_folder, tmp_path, name):
    damaged = tmp_path / "damaged"
    shutil.copytree(model_folder, damaged)
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    with pytest.raises((LmCoreError, LmGenerateError), match=name):
        load(damaged)


def test_a_tokenizer_of_another_model_is_refused_by_name(model_folder, tmp_path):
    other = Tokenizer.train(texts=["other text " * 50], vocab_size=280)
    mixed = tmp_path / "mixed"
    shutil.copytree(model_folder, mixed)
    (mixed / "manifest.json").unlink()
    other.save(mixed)
    from lm_core.manifest import seal_folder

    facts = json.loads((model_folder / "manifest.json").read_text(encoding="utf-8"))["facts"]
    seal_folder(mixed, kind="model", facts=facts)
    with pytest.raises(LmGenerateError, match="tokenizer"):
        load(mixed)
