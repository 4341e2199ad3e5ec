"""The thread that owns the models, without a server around it."""

import math
import queue
import threading

import numpy as np
import pytest
import torch
from lm_generate.errors import NonFiniteLogitsError
from lm_generate.serving.surprise import surprises
from lm_generate.serving.turns import Turns
from lm_generate.serving.worker import Ended, Failed, Piece, Scored, ScoreJob, Worker, WriteJob
from lm_generate.settings import make_settings
from tiny_engines import tiny_engine


def write_job(engine, *prompts, max_tokens=12, **options):
    settings = make_settings(max_tokens=max_tokens, seed=1, stop_ids=(), **options)
    return WriteJob(engine, [engine.text(prompt, settings, row) for row, prompt in enumerate(prompts)])


class Mail:
    """A worker and what it delivers, one list of deliveries a round. It stays in its first round until `go` is set,
    so that jobs submitted before are there from the second round on."""

    def __init__(self, slots):
        self.rounds, self.go = queue.SimpleQueue(), threading.Event()
        self.worker = Worker(slots, self.deliver)

    def deliver(self, deliveries):
        assert self.go.wait(120)
        self.rounds.put(deliveries)

    def until_over(self, *jobs):
        """All deliveries up to the end of the jobs, with the round that each came in."""
        self.go.set()
        over, found, number = dict.fromkeys(jobs, 0), [], 0
        while any(done < (len(job.texts) if isinstance(job, WriteJob) else 1) for job, done in over.items()):
            for job, event in self.rounds.get(timeout=120):
                found.append((number, job, event))
                if isinstance(event, Failed):
                    over[job] = 10**6
                elif isinstance(event, Ended) or (isinstance(event, Scored) and event.last):
                    over[job] += 1
            number += 1
        return found


@pytest.fixture
def mail():
    made = []

    def make(slots):
        made.append(Mail(slots))
        return made[-1]

    yield make
    for each in made:
        each.go.set()
        each.worker.close()


def test_requests_take_turns_one_item_each():
    turns = Turns()
    turns.add("a", [1, 2, 3, 4])
    turns.add("b", [5])
    turns.add("c", [6, 7])
    assert len(turns) == 7
    assert [turns.next() for _ in range(4)] == [1, 5, 6, 2]
    turns.drop("c")
    assert [turns.next() for _ in range(len(turns))] == [3, 4]
    with pytest.raises(IndexError):
        turns.next()


def test_rows_are_the_engines_own_whatever_is_beside_them(mail):
    engine, other = tiny_engine(), tiny_engine(3)
    mail = mail(3)
    jobs = [write_job(engine, "def ", "class ", "x"), write_job(other, "def "), write_job(engine, "na")]
    for job in jobs:
        mail.worker.submit(job)
    results = {
        (job, event.row): event.result.text
        for _, job, event in mail.until_over(*jobs)
        if isinstance(event, Ended)
    }
    options = {"max_tokens": 12, "seed": 1, "stop_ids": ()}
    for row, prompt in enumerate(("def ", "class ", "x")):
        assert results[jobs[0], row] == engine.generate(prompt, row=row, **options).text
    assert results[jobs[1], 0] == other.generate("def ", **options).text
    assert results[jobs[2], 0] == engine.generate("na", **options).text


def test_a_request_of_one_row_does_not_wait_for_one_of_many(mail):
    engine = tiny_engine()
    mail = mail(2)
    many, one = write_job(engine, *["def "] * 12), write_job(engine, "class ")
    mail.worker.submit(many)
    mail.worker.submit(one)
    found = mail.until_over(many, one)
    ends = {job: [number for number, each, event in found if each is job and isinstance(event, Ended)]
            for job in (many, one)}  # fmt: skip
    assert ends[one][0] <= ends[many][2], "the third row to be served, though twelve were there before"


def test_rows_in_slots_get_a_token_each_in_every_pass(mail):
    engine = tiny_engine()
    mail = mail(4)
    jobs = [write_job(engine, prompt, max_tokens=20) for prompt in ("a", "b", "c", "d")]
    for job in jobs:
        mail.worker.submit(job)
    found = mail.until_over(*jobs)
    for job in jobs:
        rounds = [number for number, each, event in found if each is job and isinstance(event, Piece)]
        assert rounds == list(range(rounds[0], rounds[0] + 20)), "no pass without a token"


def test_a_job_that_is_cancelled_gives_its_slots_and_its_memory_back(mail):
    engine = tiny_engine()
    mail = mail(1)
    endless = write_job(engine, "def ", max_tokens=10**6, past_context="roll")
    mail.worker.submit(endless)
    mail.go.set()
    assert mail.rounds.get(timeout=120)
    mail.worker.cancel(endless)
    after = write_job(engine, "a")
    mail.worker.submit(after)
    mail.until_over(after)
    assert endless.texts[0].row.cache is None
    assert len(endless.texts[0].row.written) < 10**6


def test_a_prompt_that_was_read_is_not_read_again(mail):
    engine = tiny_engine()
    mail = mail(2)
    for prompt, read_anew in (("def find(", True), ("def find(", False), ("class ", True)):
        job = write_job(engine, prompt, max_tokens=5)
        mail.worker.submit(job)
        result = mail.until_over(job)[-1][2].result
        assert (result.timings.prefill > 0) == read_anew
        assert result.text == engine.generate(prompt, max_tokens=5, seed=1, stop_ids=()).text


def test_damaged_weights_fail_the_request_and_not_the_worker(mail):
    broken, sound = tiny_engine(), tiny_engine(1)
    with torch.no_grad():
        broken.model.norm.weight.fill_(math.nan)
    mail = mail(4)
    bad, good = write_job(broken, "a", "b"), write_job(sound, "a")
    mail.worker.submit(bad)
    mail.worker.submit(good)
    found = mail.until_over(bad, good)
    errors = [event.error for _, job, event in found if job is bad and isinstance(event, Failed)]
    assert len(errors) == 1
    assert isinstance(errors[0], NonFiniteLogitsError)
    assert any(job is good and isinstance(event, Ended) for _, job, event in found)


def test_a_pass_that_fails_ends_its_requests_and_the_next_one_works(mail, caplog):
    engine = tiny_engine()
    mail = mail(2)
    first, second = write_job(engine, "a"), write_job(engine, "b")
    whole = engine.decode.new_cache

    def fails(tokens):
        engine.decode.new_cache = whole
        raise MemoryError("no room for keys and values")

    engine.decode.new_cache = fails
    mail.worker.submit(first)
    found = mail.until_over(first)
    assert isinstance(found[-1][2].error, MemoryError)
    mail.worker.submit(second)
    assert isinstance(mail.until_over(second)[-1][2], Ended)
    assert "a pass failed" in caplog.text


def test_scoring_lets_others_write_between_its_windows(mail):
    engine = tiny_engine()
    mail = mail(2)
    ids = [engine.start_id, *engine.encode("def find(names):\n" * 40)]
    score = ScoreJob(surprises(engine.model, ids, 16, 2))
    write = write_job(engine, "a", max_tokens=10)
    mail.worker.submit(score)
    mail.worker.submit(write)
    found = mail.until_over(score, write)
    windows = [number for number, job, event in found if job is score and not event.last]
    tokens = [number for number, job, event in found if job is write and isinstance(event, Piece)]
    assert len(windows) > 12
    assert set(tokens) < set(windows) | {windows[0]}, "a window and a token in the same round"


@pytest.mark.parametrize("stride", [1, 7, 32, 64])
def test_surprises_are_the_models_distribution_at_each_place(stride):
    engine = tiny_engine()
    ids = [engine.start_id, *engine.encode("def find(names, wanted):\n    for name in names: # 日本語\n" * 3)]
    found = [score for window in surprises(engine.model, ids, stride, 5) for score in window]
    context = engine.config.context
    assert [score.id for score in found] == ids[1:]
    for place in (1, 2, 40, 63, 64, 65, 66, 90, len(ids) - 1):
        if place >= len(ids):
            continue
        window_end = 64 if place <= 64 else 64 + -(-(place - 64) // stride) * stride
        start = max(0, window_end - context)
        with torch.inference_mode():
            logits = engine.model(torch.tensor([ids[start:place]]))[0, -1].double().numpy()
        log_p = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        score = found[place - 1]
        assert score.logprob == pytest.approx(log_p[ids[place]], abs=1e-5)
        assert score.rank == 1 + (log_p > log_p[ids[place]]).sum()
        assert score.entropy_bits == pytest.approx(-(np.exp(log_p) * log_p).sum() / math.log(2), abs=1e-4)
        order = np.argsort(-log_p)[:5]
        assert [id for id, _ in score.top] == order.tolist()
        assert [value for _, value in score.top] == pytest.approx(log_p[order], abs=1e-5)
