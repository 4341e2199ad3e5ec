"""What a harness is told, against `Engine.score` and plain passes of the model."""

import importlib
import math
import sys
import types
from pathlib import Path

import pytest
import torch
from lm_generate.errors import ContextLengthError, PromptError, SettingError
from lm_generate.harness import (
    endings_likelihood,
    log_likelihoods,
    text_likelihood,
    text_windows,
    write_until,
)
from tiny_engines import TEXT, save_tiny, tiny_engine

ENGINE = tiny_engine()
TASK = Path(__file__).parents[1] / "examples" / "lm_eval_task"


def plainly(ids, first):
    """log p of ids[first:], and whether each is the likeliest: one pass of the model."""
    with torch.inference_mode():
        log_p = ENGINE.model(torch.tensor([ids[:-1]]))[0].double().log_softmax(-1)
    chosen = [float(log_p[place - 1, ids[place]]) for place in range(first, len(ids))]
    greedy = all(int(log_p[place - 1].argmax()) == ids[place] for place in range(first, len(ids)))
    return math.fsum(chosen), greedy


def test_an_ending_is_as_likely_as_a_plain_pass_says():
    context, endings = "def find(names, wanted):", ["\n    for name in names", " return", "x"]
    before = ENGINE.encode(context)
    found = log_likelihoods(ENGINE, [(context, ending) for ending in endings])
    for ending, (log_p, greedy) in zip(endings, found, strict=True):
        ids = ENGINE.encode(context + ending)
        wanted = plainly(ids, len(before))
        assert log_p == pytest.approx(wanted[0], abs=1e-4)
        assert greedy == wanted[1]
    longer = log_likelihoods(ENGINE, [("def ", "find")])  # the space goes with the ending
    assert longer == log_likelihoods(ENGINE, [("def", " find")])


def test_what_greedy_writes_is_greedy_and_nothing_else_is():
    context = ENGINE.encode("class Finder:\n")
    written = list(ENGINE.generate(context, temperature=0, max_tokens=5, stop_ids=()).ids)
    other = [*written[:2], (written[2] + 1) % 320, *written[3:]]
    assert [greedy for _, greedy in endings_likelihood(ENGINE, context, [written, other, written[:1]])] == [
        True, False, True
    ]  # fmt: skip


def test_a_text_that_fits_is_as_likely_as_its_score():
    text = TEXT[:60]
    score = ENGINE.score(text)
    assert text_likelihood(ENGINE, text) == pytest.approx(-score.nats, abs=1e-4)
    assert log_likelihoods(ENGINE, [("", text)])[0][0] == pytest.approx(-score.nats, abs=1e-4)


def test_a_long_text_is_read_in_windows_that_predict_each_token_once():
    assert list(text_windows(12, 5)) == [(0, 1, 6), (5, 6, 11), (6, 11, 12)]
    for length in range(2, 40):
        predicted = [place for _, first, stop in text_windows(length, 7) for place in range(first, stop)]
        assert predicted == list(range(1, length))
        assert all(stop - 1 - start <= 7 and start < first for start, first, stop in text_windows(length, 7))
    ids = [ENGINE.start_id, *ENGINE.encode(TEXT * 2)]
    assert len(ids) > 2 * ENGINE.config.context
    wanted = sum(plainly(ids[a:c], b - a)[0] for a, b, c in text_windows(len(ids), ENGINE.config.context))
    assert text_likelihood(ENGINE, TEXT * 2) == pytest.approx(wanted, abs=1e-3)


def test_a_context_that_is_too_long_loses_its_beginning():
    context, ending = TEXT, "return None"
    whole = ENGINE.encode(context.rstrip() + "\n" + ending)
    behind = len(whole) - len(ENGINE.encode(context.rstrip()))
    kept = whole[-(ENGINE.config.context + 1) :]
    wanted = plainly(kept, len(kept) - behind)[0]
    assert log_likelihoods(ENGINE, [(context, ending)])[0][0] == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(ContextLengthError, match="longer than the model's context of 64"):
        log_likelihoods(ENGINE, [("a", TEXT * 2)])
    with pytest.raises(PromptError, match="nothing to score"):
        log_likelihoods(ENGINE, [("a", "")])


def test_texts_are_written_until_what_the_task_says():
    greedy = {"until": ["e", "\n"], "max_gen_toks": 9}
    sampled = {"do_sample": True, "temperature": 0.9, "top_k": 9, "seed": 4, "max_gen_toks": 5}
    found = write_until(ENGINE, [("def ", greedy), ("class ", sampled), ("", greedy), (TEXT, greedy)])
    assert found[0] == ENGINE.generate("def ", temperature=0, stop=["e", "\n"], max_tokens=9).text
    assert found[1] == ENGINE.generate("class ", temperature=0.9, top_k=9, seed=4, max_tokens=5).text
    start = [ENGINE.start_id]
    assert found[2] == ENGINE.generate(start, temperature=0, stop=["e", "\n"], max_tokens=9, row=1).text
    end = ENGINE.encode(TEXT)[-(64 - 9) :]
    assert found[3] == ENGINE.generate(end, temperature=0, stop=["e", "\n"], max_tokens=9).text
    assert write_until(ENGINE, [("a", {"until": "\n"})])[0].count("\n") == 0
    with pytest.raises(SettingError, match="the task sets 'num_beams', which is not done here"):
        write_until(ENGINE, [("a", {"num_beams": 4})])


def test_the_adapter_answers_as_these_functions_and_fills_the_harness_cache(monkeypatch, tmp_path):
    """The harness' base class replaced by its few lines that matter; the real one is in the next test."""
    kept = []

    class LM:
        def __init__(self):
            self.cache_hook = types.SimpleNamespace(add_partial=lambda *told: kept.append(told))

    registry = types.SimpleNamespace(register_model=lambda *names: lambda made: made)
    for name, module in (
        ("lm_eval", None),
        ("lm_eval.api", None),
        ("lm_eval.api.model", types.SimpleNamespace(LM=LM)),
    ):
        monkeypatch.setitem(sys.modules, name, module or types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "lm_eval.api.registry", registry)
    monkeypatch.delitem(sys.modules, "lm_generate.lm_eval_adapter", raising=False)
    adapter = importlib.import_module("lm_generate.lm_eval_adapter")
    monkeypatch.delitem(sys.modules, "lm_generate.lm_eval_adapter")
    model = adapter.LmGenerate(str(save_tiny(tmp_path / "m")), batch_size=4, device="cpu")

    def ask(*args):
        return [types.SimpleNamespace(args=args)]

    assert model.loglikelihood(ask("def", " find")) == log_likelihoods(ENGINE, [("def", " find")])
    assert model.loglikelihood_rolling(ask(TEXT)) == [text_likelihood(ENGINE, TEXT)]
    assert model.generate_until(ask("def", {"max_gen_toks": 3})) == write_until(
        ENGINE, [("def", {"max_gen_toks": 3})]
    )
    assert [name for name, _, _ in kept] == ["loglikelihood", "loglikelihood_rolling", "generate_until"]


def test_the_harness_itself_runs_a_local_task(tmp_path, monkeypatch):
    harness = pytest.importorskip(
        "lm_eval", reason="lm-evaluation-harness is not installed (pip install lm-eval)"
    )
    from lm_eval.tasks import TaskManager
    from lm_generate.lm_eval_adapter import LmGenerate

    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.chdir(TASK)
    done = harness.simple_evaluate(
        model=LmGenerate(ENGINE), tasks=["next_line"], task_manager=TaskManager(include_path=str(TASK))
    )
    assert 0 <= done["results"]["next_line"]["acc,none"] <= 1
