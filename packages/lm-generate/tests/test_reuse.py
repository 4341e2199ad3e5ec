"""What was read once is not read again by later calls, no text depends on it, and a change of the weights ends it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from lm_generate.decoder import Decoder
from lm_generate.errors import ContextLengthError, PromptError, SettingError
from lm_generate.prefix import PrefixStore
from tiny_engines import SHAPES, tiny_engine, tiny_model


class Counted(Decoder):
    """Remembers how many tokens each pass read."""

    def __init__(self, model):
        super().__init__(model)
        self.read = []

    def __call__(self, work):
        self.read.append(sum(len(ids) for _, ids in work))
        return super().__call__(work)


def counted_engine(**changes):
    engine = tiny_engine(**changes)
    engine.decode = Counted(engine.model)
    engine.decode.new_cache(1)
    if not engine.decode.any_pieces:
        pytest.skip("no kernel on this machine, so pieces matter and nothing is kept for later calls")
    return engine


@pytest.mark.parametrize("shape", SHAPES)
def test_a_dialogues_growing_prompt_is_read_from_where_it_grew(shape):
    engine, fresh = counted_engine(context=128, **SHAPES[shape]), tiny_engine(context=128, **SHAPES[shape])
    ids, options = [1, 2, 3, 4, 5], {"max_tokens": 12, "stop_ids": (), "logprobs": 2}
    for turn in range(4):
        engine.decode.read.clear()
        got, wanted = (e.generate(ids, seed=turn, **options) for e in (engine, fresh))
        assert (got.ids, got.logprobs) == (wanted.ids, wanted.logprobs)
        fresh.forget()
        if turn:
            assert engine.decode.read[0] == 4  # the token written last, and the three said since
        ids = [*ids, *got.ids, 7, 8, 9 + turn]


def test_another_seed_of_the_same_prompt_reads_one_token_of_it():
    engine = counted_engine()
    first = engine.generate("class Finder:", seed=1, max_tokens=5)
    engine.decode.read.clear()
    again = engine.generate("class Finder:", seed=1, max_tokens=5)
    assert (again.text, engine.decode.read[0]) == (first.text, 1)
    engine.forget()
    engine.decode.read.clear()
    assert engine.generate("class Finder:", seed=1, max_tokens=5).text == first.text
    assert engine.decode.read[0] == first.prompt_tokens


def test_a_stream_left_early_and_a_text_that_rolled_leave_nothing_wrong_behind():
    engine, fresh = counted_engine(context=32), tiny_engine(context=32)
    for text in engine.stream("def find", max_tokens=20, seed=0, stop_ids=()):
        assert text
        break
    options = {"max_tokens": 60, "past_context": "roll", "seed": 2, "stop_ids": ()}
    for prompt in ("def find", "def find(names", [3] * 40, "def"):
        assert engine.generate(prompt, **options).ids == fresh.generate(prompt, **options).ids
        fresh.forget()


def test_changed_weights_forget_what_was_read_with_the_old_ones():
    engine = counted_engine()
    before = engine.generate("class", temperature=0, max_tokens=8, stop_ids=(), logprobs=0)
    with torch.no_grad():
        engine.model.blocks[0].attention.v.weight.mul_(-1)
    after = engine.generate("class", temperature=0, max_tokens=8, stop_ids=(), logprobs=0)
    fresh = tiny_engine()
    fresh.model.load_state_dict(engine.model.state_dict())
    assert (
        after.logprobs
        == fresh.generate("class", temperature=0, max_tokens=8, stop_ids=(), logprobs=0).logprobs
    )
    assert after.logprobs != before.logprobs


def test_weights_whose_changes_cannot_be_seen_are_read_with_afresh():
    with torch.inference_mode():
        assert Decoder(tiny_model()).state() is None


def test_threads_share_what_was_read_and_write_what_each_writes_alone():
    engine, fresh = tiny_engine(), tiny_engine()
    prompts = ["def", "def find", "def find(names", "def find(names, wanted"] * 4
    wanted = [fresh.generate(prompt, seed=i, max_tokens=9).text for i, prompt in enumerate(prompts)]
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(engine.generate, prompt, seed=i, max_tokens=9) for i, prompt in enumerate(prompts)
        ]
        assert [call.result().text for call in calls] == wanted


def test_a_taken_cache_counts_as_the_memory_that_it_holds_and_the_oldest_goes_first():
    engine = tiny_engine()
    caches = [engine.decode.new_cache(16) for _ in range(3)]
    store = PrefixStore(2 * caches[0].bytes)
    for number, cache in enumerate(caches):
        engine.decode([(cache, [number, 1, 2])])
        store.take([number, 1, 2, 99], cache)
    assert store.bytes == 2 * caches[0].bytes
    assert [store.copy_to([n, 1, 2, 99], engine.decode.new_cache(8), 1)[0] for n in range(3)] == [0, 3, 3]
    assert store.copy_to([2, 1, 2], engine.decode.new_cache(8), 1) == (2, None)  # its logits were not kept
    small = PrefixStore(10)
    small.take([0, 1, 2], caches[0])
    assert small.bytes == 0


def test_an_embedding_is_the_mean_or_the_last_of_the_stream():
    engine = tiny_engine()
    ids = engine.encode("def find")
    with torch.no_grad():
        hidden = engine.model.norm(
            engine.model.blocks[1](engine.model.blocks[0](engine.model.embedding(torch.tensor([ids]))))
        )[0].numpy()
    np.testing.assert_allclose(engine.embed("def find"), hidden.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(engine.embed(ids, pooling="last"), hidden[-1], rtol=1e-4, atol=1e-5)
    with pytest.raises(SettingError, match='pooling must be "mean" or "last"'):
        engine.embed("def", pooling="max")
    with pytest.raises(PromptError, match="nothing to embed"):
        engine.embed("")
    with pytest.raises(ContextLengthError, match="the text has 65 tokens"):
        engine.embed([1] * 65)
