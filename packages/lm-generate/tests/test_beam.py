"""Beam search against all texts of a tiny model, and against transformers'."""

import itertools
import json
import math
from functools import cache

import numpy as np
import pytest
import torch
from lm_generate import load
from lm_generate.beam import ranking
from lm_generate.cli import run
from lm_generate.engine import Engine
from lm_generate.errors import SettingError
from lm_tokenizer import Tokenizer
from tiny_engines import END, save_tiny, tiny_engine, tiny_model

ENGINE = tiny_engine()
LETTERS = Tokenizer.characters("abc", special_tokens=(END,))
LAST = LETTERS.special_tokens[END]
SMALL = Engine(tiny_model(seed=3, vocab_size=4), LETTERS, stop_ids=[LAST])


@cache
def logprob_of(prompt, ids):
    """The sum of the model's own log-probabilities of `ids` behind the prompt, one plain pass."""
    with torch.inference_mode():
        log_p = SMALL.model(torch.tensor([[*prompt, *ids]]))[0].double().log_softmax(-1)
    return sum(float(log_p[len(prompt) - 1 + place, id]) for place, id in enumerate(ids))


def every_text(longest):
    """All that can be written: letters, then the end id, or `longest` letters."""
    for length in range(longest + 1):
        for letters in itertools.product(range(3), repeat=length):
            yield letters if length == longest else (*letters, LAST)


@pytest.mark.parametrize("length_penalty", [1.0, 0.0, 2.0, -0.5])
def test_a_wide_search_finds_the_best_of_all_texts(length_penalty):
    prompt = (0, 2)
    worth = {ids: logprob_of(prompt, ids) / len(ids) ** length_penalty for ids in every_text(4)}
    best = sorted(worth, key=worth.get, reverse=True)
    found = SMALL.beam_search(prompt, beams=81, length_penalty=length_penalty, max_tokens=4)
    for text, ids in zip(found[:20], best, strict=False):
        assert text.result.ids == tuple(id for id in ids if id != LAST)
        assert text.score == pytest.approx(worth[ids], abs=1e-5)
        assert text.logprob == pytest.approx(logprob_of(prompt, ids), abs=1e-5)
        assert text.result.finish_reason == ("stop" if ids[-1] == LAST else "length")


@pytest.mark.parametrize(("beams", "length_penalty"), [(3, 1.0), (4, 0.4), (2, 0.0)])
def test_a_narrow_search_is_that_of_transformers(beams, length_penalty, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = save_tiny(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    engine = load(folder)
    ids = engine.encode("def find")
    out = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False, num_beams=beams,
        num_return_sequences=beams, length_penalty=length_penalty, early_stopping="never", max_new_tokens=14,
        eos_token_id=sorted(engine.stop_ids), pad_token_id=0, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    found = engine.beam_search(ids, beams=beams, length_penalty=length_penalty, max_tokens=14)
    assert len(found) == beams
    for text, row, score in zip(found, out.sequences.tolist(), out.sequences_scores.tolist(), strict=True):
        theirs = row[len(ids) :]
        ends = next((place for place, id in enumerate(theirs) if id in engine.stop_ids), len(theirs))
        assert text.result.ids == tuple(theirs[:ends])
        assert text.score == pytest.approx(score, abs=1e-4)


def test_one_beam_without_an_end_is_greedy():
    greedy = ENGINE.generate("def", temperature=0, stop_ids=(), max_tokens=12, frequency_penalty=0.5)
    one = ENGINE.generate("def", beams=1, stop_ids=(), max_tokens=12, frequency_penalty=0.5)
    assert one.ids == greedy.ids


def test_stops_healing_constraints_and_logprobs_hold_in_a_search():
    for text in ENGINE.beam_search("def ", beams=3, stop=["e"], max_tokens=12, stop_ids=()):
        assert "e" not in text.result.text
        assert (text.result.finish_reason == "stop") == (text.result.stopped_by == "e")
    constrained = ENGINE.beam_search("def", beams=4, regex="(return|def) None|na", max_tokens=20)
    assert {text.result.text for text in constrained if text.result.finish_reason == "match"} <= {
        "return None", "def None", "na"
    }  # fmt: skip
    assert constrained[0].result.finish_reason == "match"
    told = ENGINE.generate("def", beams=2, max_tokens=5, logprobs=1, stop_ids=())
    assert len(told.logprobs) == 5
    healed = ENGINE.beam_search("def fin", beams=2, max_tokens=3, heal=True, stop_ids=())
    assert all(len(text.result.ids) == 3 for text in healed)
    total = ENGINE.beam_search("def", beams=2, max_tokens=5, logprobs=0, stop_ids=())[0]
    assert math.fsum(token.logprob for token in total.result.logprobs) == pytest.approx(total.logprob)


def test_the_ranking_is_stable_and_leaves_out_what_cannot_come():
    totals = np.array([[1.0, 3.0, -np.inf, 3.0], [3.0, -np.inf, 2.0, 1.0]])
    wanted = [(0, 1), (0, 3), (1, 0), (1, 2), (0, 0), (1, 3)]
    for first in (1, 2, 100):
        assert list(ranking(totals, first)) == wanted


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"beams": 0}, "beams must be a whole number from 1"),
        ({"beams": 2, "temperature": 0.5}, "draws nothing: leave out temperature"),
        ({"beams": 2, "past_context": "roll"}, "cannot roll"),
        ({"beams": 2, "draft": "prompt"}, "beams and draft do not go together"),
    ],
)
def test_what_a_search_cannot_do_is_refused(options, told):
    with pytest.raises(SettingError, match=told):
        ENGINE.generate("def", **options)
    with pytest.raises(SettingError, match="length_penalty must be a finite number"):
        ENGINE.beam_search("def", length_penalty=math.inf)


def test_the_command_line_shows_the_best_texts(tmp_path, capsys):
    options = ["--prompt", "def", "--model", str(save_tiny(tmp_path / "m")), "--max-tokens", "6", "--no-heal"]
    best = ENGINE.beam_search("def", beams=3, max_tokens=6, length_penalty=0.5)
    assert run([*options, "--beams", "3", "--length-penalty", "0.5", "--no-echo"]) == 0
    out, err = capsys.readouterr()
    assert out.rstrip("\n") == best[0].result.text.rstrip("\n")
    assert "3 beams" in err
    assert run([*options, "--beams", "3", "--length-penalty", "0.5", "--n", "2", "--json", "-q"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["text"] for record in told] == [text.result.text for text in best[:2]]
    assert told[1]["score"] == pytest.approx(best[1].score)
    for wrong in (["--n", "4"], ["--explain"], ["--draft", "prompt"], ["--temperature", "0.3"]):
        assert run([*options, "--beams", "3", *wrong]) == 2
    assert run([*options, "--length-penalty", "0.5"]) == 2
