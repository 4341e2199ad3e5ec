"""Weights kept in fewer bytes: what they stand for, the kernel over them, and what that costs."""

import json
import math

import numpy as np
import pytest
import torch
from lm_core import KVCache, save_model
from lm_generate import load, loader
from lm_generate.cli import run
from lm_generate.decoder import Decoder, decode_plainly
from lm_generate.errors import PromptError, SettingError
from lm_generate.kernel import stored as stored_weights
from lm_generate.kernel.bandwidth import bytes_per_token
from lm_generate.kernel.native import make_native
from lm_generate.kernel.packed_model import pack_model
from lm_generate.kernel.stored import (
    SMALL,
    StoredLinear,
    pack,
    storage_of,
    store,
    store_matrix,
    unpack,
    weight_bytes,
)
from lm_generate.quality import quality
from tiny_engines import SHAPES, TEXT, save_tiny, tiny_engine, tiny_model, tiny_tokenizer

ODD = {"n_heads": 3, "d_head": 10, "n_kv_heads": 1, "d_model": 36, "d_ff": 50, "vocab_size": 333}
WIDE = {"d_model": 72, "d_ff": 2100, "n_layers": 1}  # sums of more than 1024 products


def test_int8_is_the_nearest_of_255_multiples_of_a_scale_for_each_output():
    weight = torch.tensor([[1.27, -0.634, 0.006, 0.004], [0.0, 0.0, 0.0, 0.0], [-254.0, 1.0, 3.1, 127.0]])
    stored, scale = pack(weight, torch.int8)
    assert stored.tolist() == [[127, -63, 1, 0], [0, 0, 0, 0], [-127, 0, 2, 64]]
    torch.testing.assert_close(scale, torch.tensor([0.01, 1.0, 2.0]))
    assert float((unpack(stored, scale) - weight).abs().max()) <= 1.0


@pytest.mark.parametrize("dtype", SMALL)
def test_every_weight_is_off_by_at_most_half_a_step(dtype):
    weight = torch.randn(40, 70, generator=torch.Generator().manual_seed(0))
    stored, scale = pack(weight, dtype)
    off = (unpack(stored, scale) - weight).abs()
    if scale is not None:
        assert bool((off <= scale[:, None] * 0.5000001).all())
    else:
        step = {torch.bfloat16: 2**-8, torch.float16: 2**-11}[dtype]
        assert bool((off <= weight.abs() * step + 2**-25).all())


def native_or_skip(model):
    native = make_native(model)
    if native is None:
        pytest.skip("no kernel on this machine")
    return native


@pytest.mark.parametrize("d_model", [34, 512, 2100])
@torch.no_grad()
def test_int8_weights_are_multiplied_by_numbers_rounded_to_15_bits_of_their_rows_largest(d_model):
    model = tiny_model(d_model=d_model, n_heads=1, d_head=8, n_layers=1, d_ff=8)
    for part in (model.blocks[0].attention.o, model.blocks[0].feed_forward.down):
        part.weight.zero_()  # so the head alone has a say
    store(model, torch.int8)
    ids = list(range(9))
    got = native_or_skip(model)([(KVCache(model.config, 1, 16), ids, 9)])[0]
    x = model.hidden(torch.tensor([ids]))[0].double()
    scale = x.abs().amax(-1, keepdim=True) / 16383
    wanted = (x / scale).round() @ model.head.stored.double().T * scale * model.head.scale.double()
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    exact = x @ model.head.weight.double().T
    assert 0 < float((wanted - exact).abs().max()) < 2e-4 * float(exact.abs().max())


@pytest.mark.parametrize("shape", [*SHAPES, "odd", "wide"])
def test_the_kernel_over_int8_weights_is_near_the_model_of_what_they_stand_for(shape):
    model = tiny_model(**(SHAPES | {"odd": ODD, "wide": WIDE})[shape])
    store(model, torch.int8)
    native = native_or_skip(model)
    cache, plain = KVCache(model.config, 1, 64), KVCache(model.config, 1, 64)
    for ids in ([5, 6, 7], [12], list(range(20, 41)), [14]):
        got, wanted = native([(cache, ids, 1)])[0][0], decode_plainly(model, [(plain, ids)])[0]
        np.testing.assert_allclose(got, wanted, rtol=0, atol=5e-4 * np.abs(wanted).max())
    again = KVCache(model.config, 1, 64)
    one_by_one = [native([(again, [id], 1)])[0][0] for id in [5, 6, 7, 12, *range(20, 41), 14]]
    assert np.array_equal(one_by_one[-1], got)


def test_a_number_that_is_none_makes_int8_logits_that_are_none():
    model = tiny_model()
    store(model, torch.int8)
    with torch.no_grad():
        model.norm.weight[3] = float("nan")
    assert np.isnan(native_or_skip(model)([(KVCache(model.config, 1, 16), [1, 2], 1)])[0]).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [*SHAPES, "odd"])
def test_the_kernel_over_stored_weights_is_the_model_of_what_they_stand_for(shape, dtype):
    model = tiny_model(**(SHAPES | {"odd": ODD})[shape])
    store(model, dtype)
    native = native_or_skip(model)
    cache, plain = KVCache(model.config, 1, 64), KVCache(model.config, 1, 64)
    for ids in ([5, 6, 7], [12], list(range(20, 41)), [14]):
        got, wanted = native([(cache, ids, 1)])[0][0], decode_plainly(model, [(plain, ids)])[0]
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=3e-5)
    again = KVCache(model.config, 1, 64)
    one_by_one = [native([(again, [id], 1)])[0][0] for id in [5, 6, 7, 12, *range(20, 41), 14]]
    assert np.array_equal(one_by_one[-1], got)


def test_a_stored_model_is_the_plain_model_with_the_weights_that_it_stands_for():
    stored, plain = tiny_model(tie_embeddings=True), tiny_model(tie_embeddings=True)
    store(stored, torch.int8)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if parameter.dim() == 2:
                parameter.copy_(stored.get_submodule(name.removesuffix(".weight")).weight)
    ids = torch.tensor([[1, 2, 300, 4]])
    torch.testing.assert_close(stored(ids), plain(ids))
    assert storage_of(stored) == torch.int8
    assert pack_model(stored) is None
    assert Decoder(stored, fast=False).new_cache(4).keys.dtype == torch.float32


def test_a_file_is_kept_as_it_is_or_as_asked_and_computed_in_float32(tmp_path):
    folder = save_tiny(tmp_path / "model")
    add_files = tiny_tokenizer().save
    save_model(load(folder).model, tmp_path / "small", dtype=torch.bfloat16, add_files=add_files)
    small = load(tmp_path / "small")
    assert small.dtype == torch.bfloat16
    asked = load(folder, dtype=torch.bfloat16)
    options = {"max_tokens": 20, "seed": 3}
    assert small.generate([1, 2], **options).ids == asked.generate([1, 2], **options).ids
    assert asked.model.norm.weight.dtype == torch.float32
    assert load(folder, dtype=torch.int8).dtype == torch.int8
    whole, eighth = load(folder), load(folder, dtype=torch.int8)
    assert bytes_per_token(eighth.model) < 0.35 * bytes_per_token(whole.model)
    assert weight_bytes(eighth.model) < 0.35 * weight_bytes(whole.model)
    assert isinstance(eighth.model.blocks[0].attention.q, StoredLinear)


def test_int8_is_made_of_each_matrix_as_it_is_read_so_the_whole_is_never_there_in_float32(
    tmp_path, monkeypatch
):
    folder = save_tiny(tmp_path / "model", **SHAPES["gpt2"])
    read = []

    def watched(model, name, dtype):
        whole = {name for name, parameter in model.named_parameters() if parameter.dim() == 2}
        assert not (whole - {"position_embedding.weight"}) & set(read)
        store_matrix(model, name, dtype)
        read.append(name)

    monkeypatch.setattr(loader, "store_matrix", watched)
    got, wanted = load(folder, dtype=torch.int8), load(folder).model
    assert set(read) == {name for name, _ in wanted.named_parameters()}
    store(wanted, torch.int8)
    for name, kept in wanted.state_dict().items():
        assert torch.equal(got.model.state_dict()[name], kept), name


def test_a_large_matrix_is_rounded_to_int8_some_rows_at_a_time_to_the_same_numbers(monkeypatch):
    weight = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    at_once = pack(weight, torch.int8)
    monkeypatch.setattr(stored_weights, "PACKED_ROWS", 7)
    assert all(torch.equal(a, b) for a, b in zip(pack(weight, torch.int8), at_once, strict=True))


def test_int8_is_refused_elsewhere_than_on_the_cpu(tmp_path):
    with pytest.raises(SettingError, match="int8 weights are for the CPU, got device meta"):
        load(save_tiny(tmp_path / "model"), dtype=torch.int8, device="meta")


@torch.no_grad()
def test_the_cost_of_storage_is_the_definitions():
    engine = tiny_engine(context=16)
    text = TEXT[:120]
    ids = engine.encode(text)
    costs = {cost.storage: cost for cost in quality(engine, text)}
    assert list(costs) == ["float32", "bfloat16", "float16", "int8"]
    stored = tiny_model(context=16)
    store(stored, torch.int8)
    nats = divergence = same = scored = 0.0
    for start in range(0, len(ids) - 1, 16):
        window = ids[start : start + 17]
        for place in range(1, len(window)):
            before = torch.tensor([window[:place]])
            log_p, log_q = (model(before)[0, -1].double().log_softmax(-1) for model in (engine.model, stored))
            nats -= float(log_q[window[place]])
            divergence += sum(
                math.exp(p) * (p - q) for p, q in zip(log_p.tolist(), log_q.tolist(), strict=True)
            )
            same += int(log_p.argmax() == log_q.argmax())
            scored += len(engine.tokenizer.decode_bytes([window[place]]))
    found = costs["int8"]
    assert found.tokens == len(ids) - 1
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / scored, rel=1e-4)
    assert found.divergence == pytest.approx(divergence / found.tokens, rel=1e-3)
    assert found.same_choice == pytest.approx(same / found.tokens)
    assert (costs["float32"].divergence, costs["float32"].same_choice) == (0.0, 1.0)
    assert costs["float16"].divergence < costs["bfloat16"].divergence < found.divergence * 10
    with pytest.raises(PromptError, match="at least 2 are needed"):
        list(quality(engine, ""))


def test_what_is_measured_is_what_writes_rounded_activations_and_all():
    engine = tiny_engine()
    ids = engine.encode(TEXT)[:50]
    text = engine.tokenizer.decode(ids)
    (cost,) = list(quality(engine, text, [torch.int8]))[1:]
    stored = tiny_model()
    store(stored, torch.int8)
    decode = Decoder(stored)
    cache = decode.new_cache(len(ids))
    if not decode.any_pieces:
        pytest.skip("no kernel on this machine: nothing is rounded but the weights")
    written = [torch.from_numpy(decode([(cache, [id])])[0]).log_softmax(-1) for id in ids[:-1]]
    plain = stored(torch.tensor([ids[:-1]]))[0].detach().log_softmax(-1)
    per_byte = math.log(2) * len(engine.tokenizer.decode_bytes(ids[1:]))
    found = [
        -math.fsum(float(row[id]) for row, id in zip(rows, ids[1:], strict=True)) / per_byte
        for rows in (written, plain)
    ]
    assert cost.bits_per_byte == pytest.approx(found[0], rel=1e-9)
    assert cost.bits_per_byte != pytest.approx(found[1], rel=1e-6)


def test_the_command_prints_the_cost_and_the_dtype_is_an_option(tmp_path, capsys):
    folder = str(save_tiny(tmp_path / "model"))
    (tmp_path / "text.txt").write_text(TEXT[:60])
    assert run(["quality", str(tmp_path / "text.txt"), "--model", folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["weights", "MB", "bits/byte", "KL,", "nats/token", "same", "choice"]
    assert [line.split()[0] for line in lines[1:]] == ["float32", "bfloat16", "float16", "int8"]
    assert run(["quality", str(tmp_path / "text.txt"), "--model", folder, "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["divergence"] == 0.0
    options = ["--prompt", "def", "--model", folder, "--max-tokens", "4", "--seed", "1"]
    assert run([*options, "--dtype", "int8"]) == 0
    assert "int8, cpu" in capsys.readouterr().err
    assert run([*options, "--dtype", "int4"]) == 2
    assert "weights are kept as float32, bfloat16, float16, int8; got 'int4'" in capsys.readouterr().err
