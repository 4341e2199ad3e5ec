import math

import pytest
import torch
from lm_core import ModelConfig, Transformer, cross_entropy
from lm_core.init import VOCABULARY, start_std, truncated_normal
from tiny_models import GPT2, some_ids


def model(**changes):
    return Transformer(
        ModelConfig(**{"vocab_size": 300, "d_model": 256, "n_layers": 3, "bias": True, **changes})
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"init": "gpt2"},
        {"tie_embeddings": True},
        {**GPT2, "init": "gpt2"},
        GPT2,
        {"init": "truncated"},
        {"init": "mup"},
        {"init": "truncated", "vocab_multiple": 64},
    ],
)
def test_every_parameter_starts_as_the_table_says(changes):
    built = model(**changes)
    for name, parameter in built.named_parameters():
        std = start_std(name, tuple(parameter.shape), built.config)
        if name in VOCABULARY:
            assert not parameter[300:].any(), name
            parameter = parameter[:300]
        if std is None:
            assert (parameter == 1).all(), name
        elif std == 0:
            assert not parameter.any(), name
        else:
            if built.config.init == "truncated":
                assert parameter.abs().max() <= 3 * std * (1 + 1e-6), name
                std *= 0.98658  # what is left of a normal's deviation when it is cut at 3
            assert parameter.std().item() == pytest.approx(std, rel=0.02), name
            assert parameter.mean().item() == pytest.approx(0, abs=std / 50), name


def test_the_table_by_hand():
    fan_in, gpt2 = ModelConfig(vocab_size=300), ModelConfig(vocab_size=300, init="gpt2", n_layers=8)
    tied = ModelConfig(vocab_size=300, tie_embeddings=True)
    assert start_std("embedding.weight", (300, 256), fan_in) == 0.5
    assert start_std("embedding.weight", (300, 256), tied) == 0.02
    assert start_std("blocks.0.attention.q.weight", (256, 256), fan_in) == 0.7 / 16
    assert start_std("blocks.0.attention.q.weight", (256, 256), gpt2) == 0.02
    assert start_std("blocks.7.feed_forward.down.weight", (256, 704), fan_in) == 0.0
    assert start_std("blocks.7.feed_forward.down.weight", (256, 704), gpt2) == 0.02 / math.sqrt(16)
    assert start_std("head.weight", (300, 256), fan_in) == 0.0
    assert start_std("blocks.0.attention_norm.weight", (256,), fan_in) is None


@pytest.mark.parametrize("changes", [{}, {"init": "gpt2"}])
def test_the_first_loss_is_about_the_logarithm_of_the_vocabulary(changes):
    loss = cross_entropy(model(**changes)(some_ids(4, 32, 300)), some_ids(4, 32, 300, seed=1))
    assert loss.item() == pytest.approx(math.log(300), abs=0.15)


def test_an_untied_model_starts_at_that_loss_exactly():
    assert not model()(some_ids(1, 8, 300)).any()


@pytest.mark.parametrize(
    "changes", [{}, {"tie_embeddings": True}, {"init": "gpt2"}, GPT2, {"init": "truncated"}, {"init": "mup"}]
)
def test_a_fresh_model_learns_a_batch_by_heart(changes):
    small = Transformer(ModelConfig(vocab_size=32, context=16, d_model=32, n_layers=2, **changes))
    ids = some_ids(2, 16, 32)
    optimizer = torch.optim.Adam(small.parameters(), lr=1e-2)
    for _ in range(60):
        loss = cross_entropy(small(ids[:, :-1]), ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_the_truncated_normal_has_its_distribution_function():
    drawn = truncated_normal((200_000,), 1.0, torch.Generator().manual_seed(0)).double()
    inside = math.erf(3 / math.sqrt(2))
    for x in (-2.5, -1.0, 0.0, 0.5, 2.0):
        expected = (math.erf(x / math.sqrt(2)) + inside) / (2 * inside)
        assert (drawn < x).double().mean().item() == pytest.approx(expected, abs=0.004)


def test_the_table_of_the_other_two_by_hand():
    cut, mup = (ModelConfig(vocab_size=300, init=init, n_layers=8) for init in ("truncated", "mup"))
    assert start_std("embedding.weight", (300, 256), cut) == 1 / 16
    assert start_std("blocks.3.attention.q.weight", (256, 256), cut) == 1 / 16
    assert start_std("blocks.3.attention.o.weight", (256, 256), cut) == 1 / math.sqrt(256 * 8)
    assert start_std("head.weight", (300, 256), cut) == 1 / 16
    assert start_std("embedding.weight", (300, 256), mup) == 0.5
    assert start_std("blocks.3.feed_forward.up.weight", (704, 256), mup) == 0.7 / 16
    assert start_std("blocks.3.attention.o.weight", (256, 256), mup) == 0.7 / math.sqrt(256 * 16)
    assert start_std("head.weight", (300, 256), mup) == 1 / 256


@pytest.mark.parametrize("init", ["fan_in", "gpt2", "truncated", "mup"])
def test_padding_does_not_change_the_other_weights(init):
    plain, padded = model(init=init).state_dict(), model(init=init, vocab_multiple=128).state_dict()
    assert padded["embedding.weight"].shape == (384, 256)
    for name, tensor in plain.items():
        assert torch.equal(padded[name][: len(tensor)], tensor), name
