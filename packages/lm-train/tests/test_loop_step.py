"""One step, its optimizers, what is not finite, evaluation and samples."""

import json
import math

import pytest
import torch
from lm_core import ModelConfig, Transformer
from lm_core.manifest import DiskFullError
from lm_tokenizer import Tokenizer
from lm_train.batches import ValidationWindows
from lm_train.checkpoint import checkpoints
from lm_train.config import OptimConfig, SampleConfig
from lm_train.dataset import TokenDataset
from lm_train.device import choose_device
from lm_train.evaluate import evaluate
from lm_train.optimizers import Optimizers
from lm_train.plan import plan_lines
from lm_train.prepare import prepare
from lm_train.processors import usable_cpus
from lm_train.run import train
from lm_train.run_errors import NotFiniteError
from lm_train.samples import choose, prompts_for, sample
from lm_train.state import read_record
from lm_train.step import train_step
from lm_train.view.display import count
from tiny_runs import rows, tiny_config, tiny_corpus, tiny_text

SHAPE = ModelConfig(vocab_size=300, context=16, d_model=16, n_layers=2, n_heads=2, d_ff=32, qk_norm=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    tiny_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(home):
    return prepare(str(home / "corpus.txt"), home / "data", vocab_size=300)


def batch(seed=0):
    ids = torch.randint(300, (2, 17), generator=torch.Generator().manual_seed(seed))
    return ids[:, :-1], ids[:, 1:]


def test_every_parameter_is_updated_by_exactly_one_optimizer():
    for name in ("muon", "adamw", "adafactor", "lion"):
        model = Transformer(SHAPE)
        optimizers = Optimizers(model, OptimConfig(name=name))
        held = [
            id(p)
            for part in optimizers.parts
            for group in part.optimizer.param_groups
            for p in group["params"]
        ]
        assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_a_batch_in_parts_gives_the_gradient_and_loss_of_the_whole():
    ids = torch.randint(300, (5, 17), generator=torch.Generator().manual_seed(3))
    results, gradients = [], []
    for micro_batch in (None, 1, 2, 5, 7):  # 2 leaves a last part of one row, which must weigh less
        model = Transformer(SHAPE, seed=1)
        optimizers = Optimizers(model, OptimConfig(name="adamw"))
        optimizers.step = lambda: None  # keep the gradient as it is
        results.append(
            train_step(model, optimizers, ids[:, :-1], ids[:, 1:], clip=0, micro_batch=micro_batch)
        )
        gradients.append([p.grad.clone() for p in model.parameters()])
    for result, gradient in zip(results[1:], gradients[1:], strict=True):
        assert result.loss == pytest.approx(results[0].loss, rel=1e-6)
        assert result.grad_norm == pytest.approx(results[0].grad_norm, rel=1e-5)
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-4, atol=1e-6)


def test_what_is_foretold_of_the_optimizers_state_is_what_it_takes():
    for name in ("muon", "adamw", "lion"):
        model = Transformer(SHAPE)
        optimizers = Optimizers(model, OptimConfig(name=name))
        foretold = optimizers.state_bytes
        train_step(model, optimizers, *batch(), clip=1.0)
        held = sum(
            value.numel() * value.element_size()
            for part in optimizers.parts
            for state in part.optimizer.state.values()
            for value in state.values()
            if isinstance(value, torch.Tensor) and value.dim() > 0
        )
        assert held == foretold


def test_a_disk_too_full_for_a_checkpoint_is_refused_before_the_first_step(home, dataset, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    config = tiny_config(home, name="full", data=str(home / "data"))
    with pytest.raises(DiskFullError, match="are needed, 1,000 are free"):
        train(config)
    assert rows(home / "runs/full/metrics.jsonl") == []


def test_the_schedule_reaches_every_group_and_muons_momentum_warms_up():
    optimizers = Optimizers(Transformer(SHAPE), OptimConfig(momentum_warmup=10, lr=0.004, muon_lr=0.012))
    seen = []
    for step in (0, 5, 10, 20):
        optimizers.set_step(step, 0.5)
        groups = {part.name: part.optimizer.param_groups[0] for part in optimizers.parts}
        seen.append((groups["muon"]["lr"], groups["muon"]["momentum"], groups["adamw"]["lr"]))
    assert [lr for lr, _, _ in seen] == [0.006] * 4
    assert [momentum for _, momentum, _ in seen] == pytest.approx([0.85, 0.9, 0.95, 0.95])
    assert optimizers.lr == 0.002


def test_on_a_cpu_muon_computes_in_float32_so_that_ranks_agree_at_every_size():
    muon = Optimizers(Transformer(SHAPE), OptimConfig()).parts[0].optimizer
    assert muon.param_groups[0]["ns_dtype"] is torch.float32


def test_the_rate_that_is_not_given_suits_the_optimizer():
    peaks = {
        name: Optimizers(Transformer(SHAPE), OptimConfig(name=name)).parts[-1].peak
        for name in ("muon", "adamw", "lion")
    }
    assert peaks == {"muon": 0.012, "adamw": 0.004, "lion": 0.004}


def test_steps_on_one_batch_learn_it():
    model = Transformer(SHAPE)
    optimizers = Optimizers(model, OptimConfig())
    optimizers.set_step(0, 1.0)
    losses = [train_step(model, optimizers, *batch(), clip=1.0).loss for _ in range(100)]
    assert losses[0] == pytest.approx(math.log(300), abs=0.1)
    assert losses[-1] < 1.0


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(bad, monkeypatch):
    model = Transformer(SHAPE)
    optimizers = Optimizers(model, OptimConfig())
    train_step(model, optimizers, *batch(), clip=1.0)
    before = {name: p.clone() for name, p in model.named_parameters()}
    state = [
        {k: v.clone() for k, v in s.items()}
        for part in optimizers.parts
        for s in part.optimizer.state.values()
    ]

    def poisoned(self, inputs, targets):
        loss = sound(self, inputs, targets)
        return loss * math.nan if bad == "loss" else loss + (self.norm.weight * 1e38 * 1e38).sum() * 0

    sound = Transformer.loss
    monkeypatch.setattr(Transformer, "loss", poisoned)
    assert not train_step(model, optimizers, *batch(1), clip=1.0).updated
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    after = [s for part in optimizers.parts for s in part.optimizer.state.values()]
    assert all(torch.equal(new[k], old[k]) for new, old in zip(after, state, strict=True) for k in old)


def poison(monkeypatch, steps):
    """Make the loss of these steps (from 1) NaN."""
    calls, sound = [], Transformer.loss

    def poisoned(self, inputs, targets):
        loss = sound(self, inputs, targets)
        if not self.training:
            return loss
        calls.append(1)
        return loss * math.nan if len(calls) in steps else loss

    monkeypatch.setattr(Transformer, "loss", poisoned)
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


def test_a_skipped_step_is_named_and_poisons_no_later_figure(home, monkeypatch):
    poison(monkeypatch, {3, 5})
    result = train(tiny_config(home, name="poisoned"))
    assert math.isfinite(result.loss)
    found = [row for row in rows(result.folder / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in found if row["loss"] is None] == [3, 5]
    log = (result.folder / "log.txt").read_text()
    assert "step 3: loss nan, gradient norm nan: update skipped; its batch begins at tokens [" in log
    assert read_record(result.checkpoint)["skipped"] == 2


def test_a_run_whose_loss_stays_broken_ends_and_names_the_last_good_step(home, monkeypatch):
    poison(monkeypatch, set(range(6, 100)))
    with pytest.raises(
        NotFiniteError, match=r"3 steps in a row had a loss .* not finite; the last good step is 5"
    ):
        train(tiny_config(home, name="broken", optim=OptimConfig(max_bad_steps=3)))
    kept = checkpoints(home / "runs" / "broken" / "checkpoints")
    assert [read_record(path)["step"] for path in kept] == [4]
    assert json.loads((home / "runs" / "broken" / "run.json").read_text())["status"] == "failed"


def test_evaluation_is_the_summed_loss_over_the_bytes_of_its_text(dataset):
    model = Transformer(SHAPE, seed=3)
    windows = ValidationWindows(dataset, context=16, batch=3, windows=7)
    found = evaluate(model, windows, choose_device("cpu", "float32", 1))
    tokenizer = dataset.load_tokenizer()
    nats, text_bytes, tokens = 0.0, 0, 0
    for inputs, targets in windows:
        for row, wanted in zip(model(inputs).log_softmax(-1), targets, strict=True):
            for place, token in enumerate(wanted.tolist()):
                nats -= row[place, token].item()
                tokens += 1
                text_bytes += 0 if token in tokenizer.special_tokens.values() else len(tokenizer.vocab[token])
    assert found.tokens == tokens == 7 * 16
    assert found.loss == pytest.approx(nats / tokens, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / text_bytes, rel=1e-5)


def test_an_evaluation_that_is_stopped_gives_nothing_and_leaves_training_mode(dataset):
    model = Transformer(SHAPE)
    windows = ValidationWindows(dataset, context=16, batch=1)
    assert evaluate(model, windows, choose_device("cpu", "float32", 1), stopped=lambda: True) is None
    assert model.training


def test_a_sample_with_the_cache_is_the_sample_without_it(dataset):
    model, tokenizer = Transformer(SHAPE, seed=3), dataset.load_tokenizer()
    with torch.no_grad():
        for parameter in model.parameters():  # the fresh head is zero: every token would be as likely
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()), std=0.3)
    config = SampleConfig(tokens=8, temperature=0.7, top_k=20)
    ids = tokenizer.encode_ordinary("the cat")
    generator, written = torch.Generator().manual_seed(5), []
    for _ in range(8):
        logits = model(torch.tensor([ids + written]))[0, -1]
        token = choose(logits.detach(), 0.7, 20, generator)
        if token == tokenizer.special_tokens["<|endoftext|>"]:
            break
        written.append(token)
    assert sample(model, tokenizer, "the cat", config, seed=5) == tokenizer.decode(written)


def test_a_prompt_longer_than_the_context_still_gets_an_answer(dataset):
    model, tokenizer = Transformer(SHAPE), dataset.load_tokenizer()
    sample(model, tokenizer, tiny_text(500), SampleConfig(tokens=100), seed=0)
    assert model.training


def test_temperature_0_takes_the_likeliest_and_top_k_1_too():
    logits = torch.tensor([0.0, 3.0, 1.0])
    generator = torch.Generator().manual_seed(0)
    assert choose(logits, 0.0, 0, generator) == 1
    assert choose(logits, 5.0, 1, generator) == 1
    drawn = {choose(logits, 1.0, 2, generator) for _ in range(50)}
    assert drawn == {1, 2}


def test_draws_follow_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([choose(logits, 2.0, 0, generator) for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=3) / 4000
    torch.testing.assert_close(shares, (logits / 2).softmax(0), atol=0.03, rtol=0)


def test_prompts_suit_the_text_unless_they_are_given():
    assert prompts_for(SampleConfig(), "stories:1MB") == ("Once upon a time",)
    assert prompts_for(SampleConfig(), "mine.txt") == ("",)
    assert prompts_for(SampleConfig(prompts=("a", "b")), "stdlib") == ("a", "b")


def test_characters_and_a_given_tokenizer_can_be_trained_on(home, monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    chars = train(tiny_config(home, name="chars", tokenizer="characters", steps=2))
    tokenizer = Tokenizer.load(chars.checkpoint)
    assert tokenizer.vocab_size < 60
    again = train(
        tiny_config(home, name="given", tokenizer=str(chars.checkpoint / "tokenizer.json"), steps=2)
    )
    assert Tokenizer.load(again.checkpoint).fingerprint == tokenizer.fingerprint


def test_a_prepared_dataset_is_used_as_it_is_and_not_prepared_twice(home, dataset, monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    result = train(tiny_config(home, name="direct", data=str(dataset.folder), steps=2))
    assert TokenDataset(dataset.folder).fingerprint == dataset.fingerprint
    assert (
        json.loads((result.folder / "run.json").read_text())["dataset"]["fingerprint"] == dataset.fingerprint
    )


def test_a_containers_quota_bounds_the_threads(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert usable_cpus(tmp_path / "cpu.max") <= 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path / "cpu.max") == usable_cpus(tmp_path / "none")


def test_the_plan_says_size_memory_speed_and_time(home):
    text = "\n".join(plan_lines(tiny_config(home), 300))
    for part in (
        "14.8 k parameters",
        "bytes for weights, gradients and optimizer",
        "cpu, float32, 1 thread",
        "12 steps, 384 tokens",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1234, "1.23 k"), (2_580_000, "2.58 M"), (3e12, "3 T")]
)
def test_large_numbers_are_told_in_three_digits(number, text):
    assert count(number) == text
