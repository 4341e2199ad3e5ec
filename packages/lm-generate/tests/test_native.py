"""The compiled kernel against the model itself; a row's bits against company, pieces, threads; and life without a compiler."""

import ctypes
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_core import KVCache
from lm_generate.decoder import Decoder, decode_plainly
from lm_generate.kernel import native_library
from lm_generate.kernel.native import PASS_ROWS, Native, make_native
from lm_generate.kernel.stored import store
from tiny_engines import SHAPES, save_tiny, tiny_engine, tiny_model

NATIVE_SHAPES = SHAPES | {
    "odd sizes": {"n_heads": 3, "d_head": 10, "n_kv_heads": 1, "d_model": 36, "d_ff": 50, "vocab_size": 333},
    "qwen2": {"qkv_bias": True, "n_kv_heads": 1},
    "mistral": {"sliding_window": 7},
    "sinusoidal": {"position": "sinusoidal", "activation": "silu"},
    "no positions": {"position": "none", "activation": "relu2", "norm": "layer"},
    "capped and padded": {"logit_softcap": 5.0, "vocab_size": 321, "vocab_multiple": 64},
    "wide heads": {"d_model": 128, "n_heads": 2, "d_head": 70, "d_ff": 200},
}
PIECES = [[5, 6, 7, 8, 9, 10, 11], [12], [13], list(range(20, 40)), [14]]


def native_or_skip(model):
    native = make_native(model)
    if native is None:
        pytest.skip(f"no kernel on this machine: {native_library.why_not()}")
    return native


@pytest.mark.parametrize("shape", NATIVE_SHAPES)
def test_the_kernel_gives_the_models_own_logits_keys_and_values(shape):
    model = tiny_model(**NATIVE_SHAPES[shape])
    native = native_or_skip(model)
    cache, plain = KVCache(model.config, 1, 64), KVCache(model.config, 1, 64)
    for ids in PIECES:
        got, wanted = native([(cache, ids, 1)])[0][0], decode_plainly(model, [(plain, ids)])[0]
        assert got.shape == (model.config.vocab_size,)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=3e-5)
    torch.testing.assert_close(cache.keys, plain.keys, rtol=1e-4, atol=3e-5)
    torch.testing.assert_close(cache.values, plain.values, rtol=1e-4, atol=3e-5)
    assert cache.length == plain.length == 30


@pytest.mark.parametrize("shape", NATIVE_SHAPES)
@settings(max_examples=6, deadline=None)
@given(st.data())
def test_a_texts_bits_are_the_same_in_any_company_and_in_any_pieces(shape, data):
    model = tiny_model(**NATIVE_SHAPES[shape])
    native = native_or_skip(model)
    ids = np.random.default_rng(0).integers(0, 300, 40).tolist()
    alone = KVCache(model.config, 1, 48)
    wanted = np.stack([native([(alone, [id], 1)])[0][0] for id in ids])
    cache, done, got = KVCache(model.config, 1, 48), 0, []
    while done < len(ids):
        piece = ids[done : done + data.draw(st.integers(1, 15))]
        before, behind = data.draw(st.integers(0, 6)), data.draw(st.integers(0, 6))
        company = [(KVCache(model.config, 1, 32), ids[: 1 + i], i % 2) for i in range(before + behind)]
        work = [*company[:before], (cache, piece, len(piece)), *company[before:]]
        got.append(native(work)[before])
        done += len(piece)
    assert np.array_equal(np.concatenate(got), wanted)
    assert torch.equal(cache.keys, alone.keys)
    assert torch.equal(cache.values, alone.values)


@pytest.mark.parametrize("shape", ["llama", "odd sizes"])
@pytest.mark.parametrize("kept", [torch.float32, torch.float16, torch.int8])
def test_a_machine_without_avx512_gets_the_same_promises(shape, kept, avx2):
    model = tiny_model(**NATIVE_SHAPES[shape])
    if kept != torch.float32:
        store(model, kept)
    native = Native(avx2, model)
    ids = np.random.default_rng(1).integers(0, 300, 24).tolist()
    alone, plain = KVCache(model.config, 1, 32), KVCache(model.config, 1, 32)
    single = np.stack([native([(alone, [id], 1)])[0][0] for id in ids])
    together = native(
        [(KVCache(model.config, 1, 32), ids[:5], 1), (KVCache(model.config, 1, 32), ids, len(ids))]
    )
    assert np.array_equal(together[1], single)
    wanted = decode_plainly(model, [(plain, ids)])[0]
    tolerance = (
        5e-4 * np.abs(wanted).max() if kept == torch.int8 else 1e-4
    )  # int8: what it multiplies is rounded
    np.testing.assert_allclose(single[-1], wanted, rtol=1e-4, atol=tolerance)
    if kept == torch.int8:  # sums of whole numbers are the same on every machine
        here, cache = native_or_skip(model), KVCache(model.config, 1, 32)
        np.testing.assert_allclose(here([(cache, ids, 1)])[0][0], single[-1], rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("bias", [False, True])
def test_many_rows_of_int8_have_the_bits_of_one_at_a_time(bias, avx2):
    wide = {
        "d_model": 260,
        "n_heads": 2,
        "d_ff": 1101,
        "vocab_size": 1000,
    }  # panels and what is left of them, in every matrix
    model = tiny_model(**wide, bias=bias)
    store(model, torch.int8)
    ids = np.random.default_rng(2).integers(0, 1000, 61).tolist()
    for native in (native_or_skip(model), Native(avx2, model)):
        alone, cache = KVCache(model.config, 1), KVCache(model.config, 1)
        single = np.stack([native([(alone, [id], 1)])[0][0] for id in ids])
        assert np.array_equal(native([(cache, ids, len(ids))])[0], single)
        assert torch.equal(cache.keys, alone.keys)


@pytest.fixture(scope="module")
def avx2(tmp_path_factory):
    """The kernel as it is compiled where there are no wider vectors than AVX2's."""
    if "avx2" not in native_library._processor().split() or native_library.load_library() is None:
        pytest.skip("not a machine with AVX2 and a C compiler")
    target = tmp_path_factory.mktemp("avx2") / "step.so"
    command, _ = native_library._plan()
    subprocess.run(native_library._command([*command[:-1], "-march=haswell"], target), check=True)
    return ctypes.CDLL(str(target))


def test_the_number_of_threads_changes_no_bit():
    model = tiny_model(d_model=64, d_ff=512)
    native = native_or_skip(model)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3, 1, 2):
            torch.set_num_threads(number)
            cache = KVCache(model.config, 1, 64)
            found.append(np.concatenate([native([(cache, ids, 1)])[0] for ids in PIECES]))
    finally:
        torch.set_num_threads(threads)
    assert all(np.array_equal(other, found[0]) for other in found)


def test_a_prompt_longer_than_one_call_is_read_whole():
    model = tiny_model(context=3 * PASS_ROWS)
    native = native_or_skip(model)
    ids = [(7 * i) % 300 for i in range(2 * PASS_ROWS + 9)]
    cache, one = KVCache(model.config, 1), KVCache(model.config, 1)
    got = native([(cache, ids, PASS_ROWS + 20)])[0]
    wanted = np.concatenate([native([(one, [id], 1)])[0] for id in ids])[-PASS_ROWS - 20 :]
    assert np.array_equal(got, wanted)


def test_a_thousand_passes_on_more_threads_than_cores_lose_no_chunk():
    model = tiny_model()
    native = native_or_skip(model)
    threads = torch.get_num_threads()
    cache = KVCache(model.config, 1, 64)
    wanted = native([(cache, [1, 2, 3], 1)])[0].copy()
    try:
        torch.set_num_threads(5)
        for _ in range(1000):
            cache.reset()
            assert np.array_equal(native([(cache, [1, 2, 3], 1)])[0], wanted)
    finally:
        torch.set_num_threads(threads)


def test_weights_are_read_where_they_are_so_a_change_is_seen_and_none_is_copied():
    model = tiny_model()
    native_or_skip(model)
    decode = Decoder(model)
    before = decode([(decode.new_cache(8), [1, 2, 3])])[0]
    with torch.no_grad():
        model.blocks[0].attention.q.weight.mul_(3)
    after = decode([(decode.new_cache(8), [1, 2, 3])])[0]
    assert not np.allclose(before, after)
    model.head.weight = torch.nn.Parameter(model.head.weight * 2)  # moved
    np.testing.assert_allclose(decode([(decode.new_cache(8), [1, 2, 3])])[0], 2 * after, rtol=1e-4, atol=1e-5)


def test_the_logits_after_each_token_are_those_of_one_at_a_time_in_every_form():
    for decode in (Decoder(tiny_model()), Decoder(tiny_model(), fast=False)):
        cache, one = decode.new_cache(16), decode.new_cache(16)
        got = decode.after_each(cache, [1, 2, 3])
        wanted = [decode([(one, [id])])[0] for id in (1, 2, 3)]
        assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("native", ["1", "0"])
def test_a_child_process_made_by_fork_decodes_too(native):
    code = (
        "import os, sys; sys.path[:0] = sys.argv[1:]\n"
        "import torch; from tiny_engines import tiny_engine\n"
        "torch.set_num_threads(2); engine = tiny_engine()\n"
        "text = engine.generate('def', seed=1, max_tokens=9).text\n"
        "child = os.fork()\n"
        "if not child: os._exit(text != engine.generate('def', seed=1, max_tokens=9).text)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    folder = os.path.dirname(__file__)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, folder], env={**os.environ, "LM_NATIVE": native},
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A machine on which nothing has been compiled yet."""
    for name in ("_library", "_why_not", "_compiling", "_said", "_made"):
        monkeypatch.setattr(native_library, name, None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LM_NATIVE", raising=False)
    monkeypatch.delenv("CC", raising=False)
    yield tmp_path
    if native_library._compiling is not None:
        native_library._compiling.wait(60)
        native_library._said.close()
    if native_library._made is not None:
        native_library._made.cleanup()


def a_compiler(folder, body):
    folder.mkdir()
    for name in ("cc", "gcc", "clang"):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_without_a_compiler_the_text_is_written_all_the_same(fresh, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    assert native_library.load_library() is None
    assert "no C compiler" in native_library.why_not()
    engine = tiny_engine()
    row = engine.batch(["def", "class"], seed=1, max_tokens=9)[1]
    assert row.text == engine.generate("class", seed=1, row=1, max_tokens=9).text
    assert not engine.decode.any_pieces


def test_a_user_without_a_home_gets_the_kernel_from_a_folder_that_goes_away(fresh, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(native_library.Path, "home", homeless)
    assert native_library._cache() == native_library._temporary()


def test_a_compiler_that_fails_is_told_and_nothing_is_left_behind(fresh, monkeypatch):
    monkeypatch.setenv("PATH", a_compiler(fresh / "bin", "echo no room >&2; exit 3") + ":/bin:/usr/bin")
    native_library.begin_compiling()
    assert native_library.load_library() is None
    assert "could not compile the kernel: no room" in native_library.why_not()
    assert not list((fresh / "cache" / "lm-generate").iterdir())


def test_what_was_compiled_once_is_used_again_and_lies_where_nobody_else_may_write(fresh, monkeypatch):
    copies = 'while [ "$1" != -o ]; do shift; done; echo compiled > "$2"; echo x >> ' + str(fresh / "runs")
    monkeypatch.setenv("PATH", a_compiler(fresh / "bin", copies) + ":/bin:/usr/bin")
    assert native_library.begin_compiling()
    first = native_library._compiled(60)
    assert native_library._compiled(0) == first
    assert not native_library.begin_compiling()
    assert (fresh / "runs").read_text() == "x\n"
    assert first.read_text() == "compiled\n"
    assert first.parent.stat().st_mode & 0o777 == 0o700
    first.parent.chmod(0o777)
    native_library._compiling = None
    native_library._said.close()
    assert native_library._compiled(60).parent != first.parent  # somebody else could have put it there


def test_who_cannot_keep_the_kernel_is_told_how_to(fresh, monkeypatch, caplog):
    (fresh / "cache").write_text("not a folder")
    monkeypatch.setenv(
        "PATH",
        a_compiler(fresh / "bin", 'while [ "$1" != -o ]; do shift; done; echo x > "$2"') + ":/bin:/usr/bin",
    )
    with caplog.at_level("INFO", logger="lm_generate"):
        assert native_library._compiled(60).parent == native_library._temporary()
    assert f"nothing can be kept in {fresh / 'cache' / 'lm-generate'}; set XDG_CACHE_HOME" in caplog.text


def test_a_slow_compiler_is_told_and_one_that_never_ends_is_ended(fresh, monkeypatch, caplog):
    if shutil.which("timeout") is None:
        pytest.skip("this system has no timeout command")
    monkeypatch.setenv("PATH", a_compiler(fresh / "bin", "exec sleep 1000") + ":/bin:/usr/bin")
    monkeypatch.setattr(native_library, "_TOLD_AFTER", -1.0)
    monkeypatch.setattr(native_library, "_LONGEST", 1)
    with caplog.at_level("INFO", logger="lm_generate"):
        assert native_library.load_library(60) is None
    assert "waiting for the C compiler to make the decoding kernel" in caplog.text
    assert "could not compile the kernel: 124" in native_library.why_not()
    assert not list((fresh / "cache" / "lm-generate").iterdir())


def test_ten_commands_on_a_new_machine_are_one_compiler_and_a_killed_one_is_followed(fresh, monkeypatch):
    monkeypatch.setenv("PATH", a_compiler(fresh / "bin", "exit 1") + ":/bin:/usr/bin")
    command, target = native_library._plan()
    claim = native_library._claim(target)
    claim.touch()  # another process's compiler is at work
    native_library._start(command, target)
    assert native_library._compiling is None
    assert native_library.load_library(0.05) is None
    assert "still at work" in native_library.why_not()
    os.utime(claim, (0, 0))  # and was killed long ago
    native_library._start(command, target)
    assert native_library._compiling is not None


@pytest.fixture(scope="module")
def kernel():
    """The file of this machine's kernel."""
    if native_library.load_library() is None:
        pytest.skip(f"no kernel on this machine: {native_library.why_not()}")
    return native_library._plan()[1]


def test_a_single_text_does_not_wait_for_the_compiler_which_works_on_for_the_next_one(kernel, fresh):
    """The compiler waits for a file that is made only when the text has been written and its process has ended."""
    go, kept = fresh / "go", fresh / "cache" / "lm-generate"
    slow = f'while [ ! -e {go} ]; do sleep 0.05; done; while [ "$1" != -o ]; do shift; done; cp {kernel} "$2"'
    environment = {**os.environ, "PATH": a_compiler(fresh / "bin", slow) + ":/bin:/usr/bin"}
    words = ["--prompt", "def", "-m", str(save_tiny(fresh / "model")), "--max-tokens", "4", "--seed", "1"]
    wrote = subprocess.run(
        [sys.executable, "-m", "lm_generate", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert wrote.stdout.startswith("def")
    assert "is being compiled, once on this machine; this goes on without it" in wrote.stderr
    assert [path.suffix for path in kept.iterdir()] == [".compiling"]
    go.touch()
    ends = time.monotonic() + 300
    while [path.suffix for path in kept.iterdir()] != [".so"]:
        assert time.monotonic() < ends
        time.sleep(0.02)
    ctypes.CDLL(str(next(kept.iterdir())))


def test_an_environment_variable_does_without_it(fresh, monkeypatch):
    monkeypatch.setenv("LM_NATIVE", "0")
    assert native_library.load_library() is None
    assert native_library.why_not() == "LM_NATIVE=0 says to do without"
