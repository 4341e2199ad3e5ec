import math

import pytest
import torch
from lm_core import ModelConfig, Transformer, cross_entropy
from lm_core.init import start_std
from tiny_models import GPT2, some_ids


def model(**changes):
    return Transformer(
        ModelConfig(**{"vocab_size": 300, "d_model": 256, "n_layers": 3, "bias": True, **changes})
    )


@pytest.mark.parametrize(
    "changes", [{}, {"init": "gpt2"}, {"tie_embeddings": True}, {**GPT2, "init": "gpt2"}, GPT2]
)
def test_every_parameter_starts_as_the_table_says(changes):
    built = model(**changes)
    for name, parameter in built.named_parameters():
        std = start_std(name, tuple(parameter.shape), built.config)
        if std is None:
            assert (parameter == 1).all(), name
        elif std == 0:
            assert not parameter.any(), name
        else:
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


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": True}, {"init": "gpt2"}, GPT2])
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
