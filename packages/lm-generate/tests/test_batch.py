"""A row's text is the same bits alone and beside any neighbours."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_generate.decoder import Decoder
from lm_generate.errors import ContextLengthError, NonFiniteLogitsError, PromptError, SettingError
from lm_generate.generate import CHUNK, PASS_TOKENS, Batch
from lm_generate.prefix import PrefixStore
from lm_generate.settings import make_settings
from tiny_engines import SHAPES, tiny_engine

ENGINE = tiny_engine()
PROMPTS = ["def", "class Finder:\n    def ", "n", "return None\n\n", "# 日本語", "def"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_every_row_is_what_it_is_alone_over_shapes(shape, temperature):
    engine = tiny_engine(**SHAPES[shape])
    rows = engine.batch(PROMPTS, max_tokens=20, temperature=temperature, seed=9)
    for row, prompt in enumerate(PROMPTS):
        alone = engine.generate(prompt, max_tokens=20, temperature=temperature, seed=9, row=row)
        assert (rows[row].text, rows[row].ids) == (alone.text, alone.ids)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(st.integers(0, 318), min_size=1, max_size=30), min_size=1, max_size=5), st.data())
def test_neighbours_change_nothing(prompts, data):
    row = data.draw(st.integers(0, len(prompts) - 1))
    others = [[1, 2, 3]] * row + [prompts[row]]
    first = ENGINE.batch(prompts, max_tokens=8, seed=2)[row]
    second = ENGINE.batch(others, max_tokens=8, seed=2)[row]
    assert (first.ids, first.text) == (second.ids, second.text)


def test_samples_of_one_prompt_differ_from_the_first_token_on_and_read_it_once():
    rows = ENGINE.batch(["def"] * 12, max_tokens=10, temperature=1.0, seed=0)
    assert len({row.text for row in rows}) == 12
    assert len({row.ids[0] for row in rows}) > 3
    assert rows[0].timings.prefill > 0
    assert all(row.timings.prefill == 0 for row in rows[1:])


class Counted(Decoder):
    """Remembers how many tokens of how many rows each pass had."""

    def __init__(self, model):
        super().__init__(model)
        self.passes: list[list[int]] = []

    def __call__(self, work):
        self.passes.append([len(ids) for _, ids in work])
        return super().__call__(work)


def counted_engine(**changes):
    engine = tiny_engine(**changes)
    engine.decode = Counted(engine.model)
    return engine, engine.decode.passes


def test_rows_are_read_and_decoded_together_one_pass_a_token():
    engine, passes = counted_engine()
    engine.batch([[1, 2, 3], [4], [5, 6, 7, 8, 9]], max_tokens=6, seed=0, stop_ids=())
    assert passes == [[1, 3, 5]] + [[1, 1, 1]] * 5


def test_a_row_that_ends_makes_room_for_the_next():
    engine, passes = counted_engine()
    ended = engine.generate([1], max_tokens=9, seed=0, stop_ids=()).ids[
        1
    ]  # row 0 ends after its second token
    passes.clear()
    rows = engine.batch([[1], [2], [3]], slots=2, max_tokens=4, seed=0, stop_ids=[ended], logprobs=0)
    assert max(len(work) for work in passes) == 2
    assert len(passes) < 4 * 3
    for row, prompt in enumerate([[1], [2], [3]]):
        alone = engine.generate(prompt, max_tokens=4, seed=0, row=row, stop_ids=[ended], logprobs=0)
        assert (rows[row].ids, rows[row].logprobs) == (alone.ids, alone.logprobs)


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_the_number_of_slots_changes_no_text(slots):
    wanted = ENGINE.batch(PROMPTS, max_tokens=12, seed=4, logprobs=2)
    got = ENGINE.batch(PROMPTS, max_tokens=12, seed=4, logprobs=2, slots=slots)
    assert [(row.text, row.logprobs) for row in got] == [(row.text, row.logprobs) for row in wanted]


def test_rows_that_roll_past_the_context_are_what_they_are_alone():
    engine = tiny_engine(context=16)
    options = {"max_tokens": 40, "seed": 3, "past_context": "roll", "stop_ids": ()}
    rows = engine.batch([*PROMPTS, [7] * 40], **options)
    for row, prompt in enumerate([*PROMPTS, [7] * 40]):
        assert rows[row].ids == engine.generate(prompt, row=row, **options).ids


def test_prompts_that_begin_alike_are_read_once_and_nothing_else_changes():
    engine, passes = counted_engine(context=2 * CHUNK + 200)
    common = [(7 * i) % 300 for i in range(CHUNK + 20)]
    prompts = [[*common, 1, 2], [*common, 3], [*common, 1, 2], [9]]
    rows = engine.batch(prompts, max_tokens=5, seed=1, stop_ids=(), logprobs=1)
    assert sum(sum(work) for work in passes) < 2 * CHUNK
    for row, prompt in enumerate(prompts):
        alone = engine.generate(prompt, max_tokens=5, seed=1, row=row, stop_ids=(), logprobs=1)
        assert (rows[row].ids, rows[row].logprobs) == (alone.ids, alone.logprobs)


def test_prompts_too_long_for_one_pass_take_turns_and_nothing_else_changes():
    engine, passes = counted_engine(context=2 * CHUNK)
    prompts = [[(7 * i + 11 * row) % 300 for i in range(CHUNK + 9)] for row in range(6)]
    rows = engine.batch(prompts, max_tokens=4, seed=1, stop_ids=(), logprobs=1)
    assert max(sum(work) for work in passes) <= PASS_TOKENS
    for row in (0, 5):
        alone = engine.generate(prompts[row], max_tokens=4, seed=1, row=row, stop_ids=(), logprobs=1)
        assert (rows[row].ids, rows[row].logprobs) == (alone.ids, alone.logprobs)


def test_a_row_that_fails_leaves_its_neighbours_alone():
    engine = tiny_engine()
    with torch.no_grad():
        engine.model.embedding.weight[7] = float("nan")
    batch = Batch(engine.decode)
    settings = make_settings(max_tokens=4, seed=0)
    texts = {engine.text(prompt, settings, 0).row: prompt for prompt in ([1, 2], [7], [3])}
    for row in texts:
        batch.add(row)
    while batch.busy:
        batch.step()
    failed = [prompt for row, prompt in texts.items() if isinstance(row.error, NonFiniteLogitsError)]
    assert failed == [[7]]
    assert [len(row.written) for row in texts] == [4, 0, 4]
    assert all(row.cache is None for row in texts)  # its memory is given back


def test_the_store_of_prefixes_keeps_the_newest_that_fit():
    engine = tiny_engine()
    cache = engine.decode.new_cache(8)
    logits = engine.decode([(cache, [1, 2, 3])])[0]
    one = cache.bytes // 16 * 3 + logits.nbytes
    store = PrefixStore(2 * one)
    for ids in ([1, 2, 3], [1, 2, 4]):
        store.add(ids, cache, logits)
    store.copy_to([1, 2, 3], engine.decode.new_cache(8), 2)  # used, so it stays
    store.add([1, 2, 5], cache, logits)
    assert store.bytes == 2 * one
    fresh = engine.decode.new_cache(8)
    assert store.copy_to([1, 2, 4], fresh, 2)[0] == 2  # gone, but [1, 2] of another is there
    known, kept = store.copy_to([1, 2, 3], fresh, 2)
    assert (known, kept is logits) == (3, True)
    assert torch.equal(fresh.keys[:, :, :, :3], cache.keys[:, :, :, :3])
    assert store.copy_to([1], engine.decode.new_cache(8), 2) == (0, None)
    few = PrefixStore(2**30, most=2)
    for ids in ([1], [2], [3]):
        few.add(ids, cache, logits)
    found = [few.copy_to([id], engine.decode.new_cache(8), 1)[0] for id in (1, 2, 3)]
    assert found == [0, 1, 1]
    empty = PrefixStore(0)
    empty.add([1], cache, logits)
    assert empty.bytes == 0


def test_threads_that_share_an_engine_write_what_each_writes_alone():
    engine = tiny_engine()
    wanted = [engine.batch(PROMPTS[i:], max_tokens=10, seed=i)[0].text for i in range(4)]
    fresh = tiny_engine()  # so that the threads also race to pack the weights
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda i: fresh.batch(PROMPTS[i:], max_tokens=10, seed=i)[0].text, range(4)))
    assert got == wanted


def test_slots_must_be_a_number_of_rows():
    with pytest.raises(SettingError, match="slots must be a whole number from 1"):
        ENGINE.batch(["def"], slots=0)


def test_a_seed_repeats_a_text_and_another_seed_gives_another():
    texts = [ENGINE.generate("def", max_tokens=20, seed=seed).text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_seed_that_was_drawn_is_told_and_repeats_the_text():
    first = ENGINE.generate("def", max_tokens=20)
    assert ENGINE.generate("def", max_tokens=20, seed=first.seed).text == first.text


def test_a_bad_row_is_refused_before_anything_is_written():
    with pytest.raises(ContextLengthError, match="65"):
        ENGINE.batch(["def", [1] * 60], max_tokens=5)


def test_one_string_is_no_batch():
    with pytest.raises(PromptError, match="batch takes a list of prompts"):
        ENGINE.batch("def")
