"""GGUF files, read back by the format's own reader and by transformers, which undoes the layouts by itself."""

import numpy as np
import pytest
import torch
from lm_core import ModelConfig, Transformer
from lm_generate.cli import run
from lm_generate.engine import Engine
from lm_generate.errors import ExportError
from lm_generate.gguf_file import byte_letters, write_gguf
from lm_tokenizer import Tokenizer
from tiny_engines import SHAPES, save_tiny, tiny_engine, tiny_tokenizer

GGUF_SHAPES = SHAPES | {
    "qwen3": SHAPES["qwen3"] | {"d_head": 128},
    "gpt2": SHAPES["gpt2"]
    | {"context": 1024, "d_ff": 128},  # transformers takes no others from a file of this kind
    "qwen2": {"qkv_bias": True, "n_kv_heads": 2},
    "padded": {"vocab_multiple": 64, "vocab_size": 321},
}


@pytest.mark.parametrize("shape", GGUF_SHAPES)
def test_transformers_reads_the_file_and_gives_the_models_own_logits(shape, tmp_path):
    from transformers import AutoModelForCausalLM

    engine = tiny_engine(**GGUF_SHAPES[shape])
    write_gguf(engine, tmp_path / "model.gguf")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32)
    ids = torch.tensor([[1, 2, 3, 300, 17, 5]])
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, engine.model(ids), rtol=1e-4, atol=1e-4)


def fields_of(path):
    from gguf import GGUFReader

    reader = GGUFReader(path)
    return reader, {name: field.contents() for name, field in reader.fields.items()}


def test_the_tokenizer_is_written_whole(tmp_path):
    engine = tiny_engine(vocab_size=330)
    write_gguf(engine, tmp_path / "model.gguf")
    tokenizer = engine.tokenizer
    _, fields = fields_of(tmp_path / "model.gguf")
    letters = {letter: byte for byte, letter in enumerate(byte_letters())}
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    end = tokenizer.special_tokens["<|endoftext|>"]
    assert len(letters) == 256
    for id, data in tokenizer.vocab.items():
        if id != end:
            assert (bytes(letters[letter] for letter in tokens[id]), kinds[id]) == (data, 1)
    assert (tokens[end], kinds[end]) == ("<|endoftext|>", 3)
    assert (len(tokens), kinds[329]) == (330, 5)
    merges = [
        tuple(bytes(letters[c] for c in part) for part in merge.split(" "))
        for merge in fields["tokenizer.ggml.merges"]
    ]
    assert merges == [tuple(pair) for pair in tokenizer.merges]
    assert (fields["tokenizer.ggml.pre"], fields["tokenizer.ggml.eos_token_id"]) == ("gpt-2", end)


@pytest.mark.parametrize(("type", "within"), [("float16", 1e-3), ("bfloat16", 8e-3), ("q8_0", 1e-2)])
def test_matrices_are_written_in_fewer_bytes_and_norms_are_not(type, within, tmp_path):
    from gguf.quants import dequantize

    engine = tiny_engine()
    write_gguf(engine, tmp_path / "whole.gguf")
    size = write_gguf(engine, tmp_path / "model.gguf", type)
    assert size < (tmp_path / "whole.gguf").stat().st_size
    reader, _ = fields_of(tmp_path / "model.gguf")
    found = {tensor.name: tensor for tensor in reader.tensors}
    up = engine.model.blocks[1].feed_forward.up.weight.detach().numpy()
    stored = found["blk.1.ffn_up.weight"]
    np.testing.assert_allclose(
        dequantize(stored.data, stored.tensor_type), up, atol=within * np.abs(up).max()
    )
    assert found["blk.1.attn_norm.weight"].tensor_type.name == "F32"


def test_what_llama_cpp_cannot_express_is_refused_by_name(tmp_path):
    path = tmp_path / "model.gguf"
    for changes, reason in (
        ({"position": "sinusoidal"}, 'position="sinusoidal"'),
        ({"sliding_window": 8}, "sliding_window=8"),
        ({"bias": True}, "bias=True with rope"),
        ({"logit_softcap": 5.0}, "logit_softcap=5.0"),
    ):
        with pytest.raises(ExportError, match=reason):
            write_gguf(tiny_engine(**changes), path)
    small = ModelConfig(vocab_size=8, context=8, d_model=8, n_layers=1, n_heads=1)
    with pytest.raises(ExportError, match="a character tokenizer"):
        write_gguf(Engine(Transformer(small), Tokenizer.characters("abc")), path)
    other = Tokenizer.from_vocab(tiny_tokenizer().vocab, tiny_tokenizer().merges, pattern="cl100k")
    with pytest.raises(ExportError, match="the 'cl100k' tokenizer"):
        write_gguf(Engine(tiny_engine().model, other), path)
    with pytest.raises(ExportError, match="weights are written as float32"):
        write_gguf(tiny_engine(), path, "int4")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_once_and_overwrites_nothing(tmp_path, capsys):
    folder, path = str(save_tiny(tmp_path / "model")), tmp_path / "tiny.gguf"
    assert run(["export", "--gguf", str(path), "--model", folder, "--dtype", "float16", "-q"]) == 0
    assert capsys.readouterr().out == f"{path}: {path.stat().st_size:,} bytes, float16\n"
    assert run(["export", "--gguf", str(path), "--model", folder]) == 2
    assert "exists: remove it, or give another name" in capsys.readouterr().err
    assert run(["export", "--gguf", str(tmp_path / "no" / "file.gguf"), "--model", folder]) == 2
    assert "cannot write" in capsys.readouterr().err
