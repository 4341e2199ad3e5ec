"""GGUF files in llama.cpp itself (through cyllama): the same ids of a text, and the same likeliest next id.

In a process of its own, because llama.cpp keeps threads and prints where it likes.
"""

import json
import subprocess
import sys

import pytest
import torch
from lm_generate.engine import Engine
from lm_generate.gguf_file import write_gguf
from lm_tokenizer import Tokenizer
from tiny_engines import END, SHAPES, TEXT, tiny_engine, tiny_model

cyllama = pytest.importorskip("cyllama", reason="llama.cpp is not installed (pip install cyllama)")

MODELS = SHAPES | {
    "qwen3": SHAPES["qwen3"] | {"d_head": 8},
    "qwen2": {"qkv_bias": True, "n_kv_heads": 2},
    "padded": {"vocab_multiple": 64, "vocab_size": 321},
}
PATTERNS = ("gpt2", "gpt2-digits", "llama3", "qwen2")
TRICKY = f"{TEXT}  I'LL  12345 don't\r\n\n\ta\u00a0b e\u0301 x² Ⅷ ٣٤٥ \u2028 {{}}!?…  "
IDS = [(7 * place * place + 13) % 319 for place in range(60)]

PROGRAM = """
import json, sys
from cyllama.llama import llama_cpp as llama
models, ids, texts, text = json.loads(sys.stdin.read())
llama.ggml_backend_load_all()
llama.llama_backend_init()
settings = llama.LlamaModelParams()
settings.n_gpu_layers = 0
load = lambda path: llama.LlamaModel(path_model=path, params=settings, verbose=False)
sampler = llama.LlamaSampler(llama.LlamaSamplerChainParams())
sampler.add_greedy()
likeliest, kept = {}, []
for path in models:
    model, space = load(path), llama.LlamaContextParams()
    space.n_ctx, space.n_batch, space.n_threads, space.n_threads_batch = 64, 64, 1, 1
    context = llama.LlamaContext(model, space, False)
    batch = llama.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1)
    for place, id in enumerate(ids):
        batch.add(id, place, [0], True)
    context.decode(batch)
    likeliest[path] = [sampler.sample(context, place) for place in range(len(ids))]
    kept.append((model, context, batch))
loaded = {path: load(path) for path in texts}
found = {path: list(model.get_vocab().tokenize(text, False, False)) for path, model in loaded.items()}
open(sys.argv[1], "w").write(json.dumps([likeliest, found]))
"""


@pytest.fixture(scope="module")
def read_by_llama_cpp(tmp_path_factory):
    """Our engines by name, and what llama.cpp finds in their files: {name: likeliest ids}, {pattern: ids}."""
    folder = tmp_path_factory.mktemp("gguf")
    engines = {name: tiny_engine(**shape) for name, shape in MODELS.items()}
    for pattern in PATTERNS:
        tokenizer = Tokenizer.train(
            texts=[TRICKY * 2], vocab_size=320, special_tokens=(END,), pattern=pattern
        )
        engines[pattern] = Engine(tiny_model(), tokenizer, stop_ids=[319], start_id=319)
    for name, engine in engines.items():
        write_gguf(engine, folder / name)
    asked = [[str(folder / name) for name in MODELS], IDS, [str(folder / name) for name in PATTERNS], TRICKY]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder / "found.json")],
        input=json.dumps(asked), text=True, check=False, timeout=300, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return engines, *({path.rsplit("/", 1)[-1]: value for path, value in part.items()} for part in found)


@pytest.mark.parametrize("name", MODELS)
def test_after_each_id_the_same_next_one_is_the_likeliest(read_by_llama_cpp, name):
    engines, likeliest, _ = read_by_llama_cpp
    with torch.no_grad():
        logits = engines[name].model(torch.tensor([IDS]))[0, :, :320]
    of_theirs = logits.gather(-1, torch.tensor(likeliest[name])[:, None])[:, 0]
    # llama.cpp keeps keys and values in float16: two ids nearer to each other than that may change places
    assert (logits.amax(-1) - of_theirs).max() < 0.02 < logits.std() / 50
    assert len(set(likeliest[name])) > 20  # it hangs on the ids before


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_text_has_the_ids_of_our_tokenizer(read_by_llama_cpp, pattern):
    engines, _, ids = read_by_llama_cpp
    assert ids[pattern] == engines[pattern].tokenizer.encode(TRICKY)
