"""Decoding against the plainest definition: run the whole sequence through the model again for every token."""

import numpy as np
import pytest
import torch
from lm_core import Transformer
from lm_generate.decoder import Decoder
from lm_generate.errors import ContextLengthError, NonFiniteLogitsError, PromptError
from lm_generate.generate import CHUNK, Batch, Row, rolled_length
from lm_generate.rng import uniform
from lm_generate.rules import Rules
from lm_generate.sampling import Sampling, choose
from tiny_engines import SHAPES, tiny_engine, tiny_model


def naive(
    model: Transformer, prompt: list[int], count: int, sampling: Sampling, seed: int, row: int = 0
) -> list[int]:
    """No cache, no windows: the logits of the whole text so far, one token, again."""
    ids = list(prompt)
    for _ in range(count):
        with torch.inference_mode():
            logits = model(torch.tensor([ids]))[0, -1].numpy()
        ids.append(choose(logits, sampling, uniform(seed, row, len(ids))))
    return ids[len(prompt) :]


PROMPT = [100, 5, 260, 7, 7, 31]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0), Sampling(), Sampling(temperature=1.2, top_k=40, top_p=0.9)], ids=str
)
def test_the_tokens_are_those_of_decoding_without_a_cache(shape, sampling):
    engine = tiny_engine(**SHAPES[shape])
    got = engine.generate(
        PROMPT,
        max_tokens=40,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=11,
        stop_ids=(),
    )
    assert list(got.ids) == naive(engine.model, PROMPT, 40, sampling, 11)
    assert got.finish_reason == "length"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_greedy_and_sampled_tokens_are_those_of_transformers_generate(tmp_path, temperature):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=300, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path / "llama")
    from lm_core import load_model
    from lm_generate.engine import Engine
    from lm_tokenizer import Tokenizer

    tokenizer = Tokenizer.train(texts=["abc"], vocab_size=256, special_tokens=())
    engine = Engine(load_model(tmp_path / "llama"), tokenizer)
    ids = torch.tensor([[*PROMPT[:2], 60, 61]])
    if temperature == 0:
        options = {"do_sample": False, "bad_words_ids": [[id] for id in range(256, 300)]}
        wanted = theirs.generate(ids, max_new_tokens=30, eos_token_id=None, pad_token_id=0, **options)[
            0, 4:
        ].tolist()
    else:  # their logits, our draw: the distributions are the same
        with torch.inference_mode():
            sequence = ids
            for position in range(4, 34):
                logits = theirs(sequence).logits[0, -1].numpy()[:256]
                id = choose(logits, Sampling(temperature=1.0), uniform(5, 0, position))
                sequence = torch.cat([sequence, torch.tensor([[id]])], dim=1)
            wanted = sequence[0, 4:].tolist()
    got = engine.generate(ids[0].tolist(), max_tokens=30, temperature=temperature, seed=5)
    assert list(got.ids) == wanted


@pytest.mark.parametrize("fast", [True, False])
def test_a_prompt_longer_than_one_chunk_gives_the_logits_of_one_pass(fast):
    model = tiny_model(context=CHUNK + 100)
    ids = [(7 * i) % 300 for i in range(CHUNK + 37)]
    rules = Rules(
        sampling=Sampling(temperature=0), seed=0, row=0, max_tokens=1, stop_ids=frozenset(), logprobs=320
    )
    batch = Batch(Decoder(model, fast=fast))
    batch.add(Row(ids, rules))
    assert batch.step() == []  # the first chunk
    [(_, written)] = batch.step()
    with torch.inference_mode():
        whole = model(torch.tensor([ids]))[0, -1].log_softmax(-1).numpy()
    got = dict(written.logprob.top)
    np.testing.assert_allclose([got[id] for id in range(320)], whole, atol=2e-4)


def test_an_end_id_ends_the_text_and_is_not_part_of_it():
    engine = tiny_engine()
    free = engine.generate(PROMPT, max_tokens=30, seed=3, stop_ids=())
    end = free.ids[12]
    stopped = engine.generate(PROMPT, max_tokens=30, seed=3, stop_ids=[end])
    assert stopped.ids == free.ids[: free.ids.index(end)]
    assert (stopped.finish_reason, stopped.stopped_by) == ("stop", end)


def test_ids_that_pad_the_vocabulary_are_never_written():
    engine = tiny_engine(vocab_size=4096)  # 320 of them have bytes
    assert max(engine.generate(PROMPT, max_tokens=57, temperature=2.0, seed=0).ids) < 320


def test_rolling_reads_the_newer_half_afresh_as_if_it_were_the_whole_text():
    engine = tiny_engine(context=16)
    sampling, keep = Sampling(temperature=0.9), rolled_length(16)
    ids = list(PROMPT)
    window = list(PROMPT)
    for _ in range(50):
        with torch.inference_mode():
            logits = engine.model(torch.tensor([window]))[0, -1].numpy()
        id = choose(logits, sampling, uniform(4, 0, len(ids)))
        ids.append(id)
        window = [*window, id] if len(window) < 16 else ids[-keep:]
    got = engine.generate(PROMPT, max_tokens=50, temperature=0.9, seed=4, stop_ids=(), past_context="roll")
    assert list(got.ids) == ids[len(PROMPT) :]


def test_rolling_takes_a_prompt_longer_than_the_context():
    engine = tiny_engine(context=16)
    prompt = [i % 300 for i in range(40)]
    got = engine.generate(prompt, max_tokens=5, temperature=0, stop_ids=(), past_context="roll")
    assert len(got.ids) == 5
    assert got.ids[0] == naive(engine.model, prompt[-8:], 1, Sampling(temperature=0), 0)[0]


def test_more_tokens_than_the_context_holds_is_an_error_that_names_the_numbers():
    engine = tiny_engine()
    with pytest.raises(
        ContextLengthError, match=r"6 prompt tokens and max_tokens 59 make 65, .* 64: ask for at most 58"
    ):
        engine.generate(PROMPT, max_tokens=59)
    with pytest.raises(ContextLengthError, match="the prompt has 64 tokens and the model's context is 64"):
        engine.generate([1] * 64)


def test_without_max_tokens_the_text_ends_where_the_context_does():
    got = tiny_engine().generate(PROMPT, seed=0, stop_ids=())
    assert (len(got.ids), got.finish_reason) == (58, "context")
    assert len(tiny_engine(context=512).generate(PROMPT, seed=0, stop_ids=()).ids) == 200


def test_damaged_weights_are_an_error_and_not_a_text():
    engine = tiny_engine()
    with torch.no_grad():
        engine.model.norm.weight[0] = float("nan")
    with pytest.raises(NonFiniteLogitsError, match="the weights are damaged or the dtype overflows"):
        engine.generate(PROMPT, max_tokens=5)


def test_an_id_outside_the_vocabulary_is_refused():
    with pytest.raises(PromptError, match=r"id 320 is outside the model's vocabulary \(0..319\)"):
        tiny_engine().generate([3, 320])


def test_generating_leaves_gradients_switched_on_for_the_caller():
    engine = tiny_engine()
    for _ in engine.stream(PROMPT, max_tokens=3):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
