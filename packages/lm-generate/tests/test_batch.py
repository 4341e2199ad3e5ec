"""A row's text is the same bits alone and beside any neighbours."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_generate.errors import ContextLengthError, PromptError
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
