"""Other engines on the same model, each as a function that writes greedily: rows of tokens = write(prompts, count).

`peers` has those that are installed: transformers (float32), llama.cpp through cyllama and gguf
(`pip install cyllama gguf`), CTranslate2 (`pip install ctranslate2 transformers`; float32 and int8), litgpt (`pip install
litgpt`; a Llama in float32). Each gets the
model in its own form. llama.cpp's int8 is q8_0, and both round the activations to int8 as well.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import torch
from lm_generate import Engine
from lm_generate.gguf_file import write_gguf

Tokens = list[list[int]]
Write = Callable[[Tokens, int], Tokens]


def peers(engine: Engine, model: Path, made: Path, dtype: str, threads: int) -> dict[str, Write]:
    """The engines that are installed and can hold weights of `dtype`; `made` is a folder for what they need."""
    found: dict[str, Write] = {}
    if dtype == "float32" and _installed("transformers"):
        found["transformers"] = _transformers(engine, model)
    if _installed("cyllama", "gguf"):
        found["llama.cpp"] = _llama_cpp(engine, made / f"{dtype}.gguf", dtype, threads)
    if dtype == "float32" and engine.config.family == "llama" and _installed("litgpt"):
        found["litgpt"] = _litgpt(engine, model)
    if dtype != "float16" and _installed("ctranslate2", "transformers"):
        found["ctranslate2"] = _ctranslate2(model, made / f"ct2-{dtype}", dtype, threads)
    return found


def _installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) for name in names)


def _transformers(engine: Engine, folder: Path) -> Write:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=engine.dtype).eval()
    vocab = engine.tokenizer.vocab
    unknown = [[id] for id in range(engine.config.vocab_size) if id not in vocab] or None

    def write(prompts: Tokens, count: int) -> Tokens:
        ids = torch.tensor(prompts)
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=None, pad_token_id=0,
            min_new_tokens=count, max_new_tokens=count, bad_words_ids=unknown,
        )  # fmt: skip
        return out[:, ids.shape[1] :].tolist()

    return write


def _llama_cpp(engine: Engine, path: Path, dtype: str, threads: int) -> Write:
    from cyllama.llama import llama_cpp as llama

    write_gguf(engine, path, "q8_0" if dtype == "int8" else dtype)
    llama.ggml_backend_load_all()
    llama.llama_backend_init()
    settings = llama.LlamaModelParams()
    settings.n_gpu_layers = 0
    model = llama.LlamaModel(path_model=str(path), params=settings, verbose=False)
    sampler = llama.LlamaSampler(llama.LlamaSamplerChainParams())
    sampler.add_greedy()
    contexts = {}

    def context(rows: int):
        if rows not in contexts:
            settings = llama.LlamaContextParams()
            settings.n_ctx, settings.n_seq_max, settings.n_batch = engine.config.context * rows, rows, 2048
            settings.n_threads = settings.n_threads_batch = threads
            contexts[rows] = llama.LlamaContext(model, settings, False)
        return contexts[rows]

    def write(prompts: Tokens, count: int) -> Tokens:
        place, rows, length = context(len(prompts)), len(prompts), len(prompts[0])
        place.kv_cache_clear()
        written = []
        for row, ids in enumerate(prompts):
            batch = llama.LlamaBatch(n_tokens=length, embd=0, n_seq_max=1)
            for i, id in enumerate(ids):
                batch.add(id, i, [row], i == length - 1)
            place.decode(batch)
            written.append([sampler.sample(place, length - 1)])
        for step in range(count - 1):
            batch = llama.LlamaBatch(n_tokens=rows, embd=0, n_seq_max=rows)
            for row in range(rows):
                batch.add(written[row][-1], length + step, [row], True)
            place.decode(batch)
            for row in range(rows):
                written[row].append(sampler.sample(place, row))
        return written

    return write


def _litgpt(engine: Engine, folder: Path) -> Write:
    from litgpt import GPT, Config
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
    from safetensors.torch import load_file

    shape = engine.config
    config = Config(
        block_size=shape.context, vocab_size=shape.vocab_size, padded_vocab_size=shape.vocab_size,
        n_layer=shape.n_layers, n_head=shape.n_heads, n_query_groups=shape.n_kv_heads, n_embd=shape.d_model,
        intermediate_size=shape.d_ff, rotary_percentage=1.0, parallel_residual=False, bias=False,
        norm_class_name="RMSNorm", norm_eps=shape.norm_eps, mlp_class_name="LLaMAMLP", rope_base=int(shape.rope_theta),
    )  # fmt: skip
    model = GPT(config).eval()
    weights: dict[str, torch.Tensor] = {}
    copy_weights_hf_llama(config, {}, weights, load_file(folder / "model.safetensors"))
    model.load_state_dict(weights)

    @torch.inference_mode()
    def write(prompts: Tokens, count: int) -> Tokens:
        length = len(prompts[0])
        model.clear_kv_cache()
        model.max_seq_length = length + count
        model.set_kv_cache(batch_size=len(prompts))
        ids, place = torch.tensor(prompts), torch.arange(length)
        written = []
        for step in range(count):
            ids = model(ids, input_pos=place)[:, -1:].argmax(-1)  # (rows, 1)
            place = torch.tensor([length + step])
            written.append(ids)
        return torch.cat(written, dim=1).tolist()

    return write


def _ctranslate2(folder: Path, made: Path, dtype: str, threads: int) -> Write:
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(folder), load_as_float16=False).convert(str(made), quantization=dtype)
    settings = json.loads((made / "config.json").read_text(encoding="utf-8"))
    settings["unk_token"] = (
        settings.get("unk_token") or settings["eos_token"]
    )  # it cannot read a null, which GPT-2 gets
    (made / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    model = ctranslate2.Generator(str(made), compute_type=dtype, inter_threads=1, intra_threads=threads)
    tokens = json.loads((made / "vocabulary.json").read_text(encoding="utf-8"))

    def write(prompts: Tokens, count: int) -> Tokens:
        results = model.generate_batch(
            [[tokens[id] for id in ids] for ids in prompts], max_batch_size=len(prompts), beam_size=1,
            sampling_topk=1, max_length=count, min_length=count, include_prompt_in_result=False, end_token=[],
        )  # fmt: skip
        return [result.sequences_ids[0] for result in results]

    return write
