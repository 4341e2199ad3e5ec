import copy

import pytest
import torch
from lm_core import Transformer, load_model, save_model
from lm_core.errors import ConfigError, ShapeError
from lm_core.optim import EMA, AdamW
from tiny_models import some_ids, tiny_config, tiny_model


def walk(parameter, steps):
    """Moves a parameter about and gives each place it was at, in float64."""
    generator = torch.Generator().manual_seed(0)
    places = []
    for _ in range(steps):
        with torch.no_grad():
            parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
        places.append(parameter.detach().double().clone())
        yield places


@pytest.mark.parametrize("decay", [0, 0.5, 0.9, 0.999])
def test_the_average_is_the_mean_with_weights_that_fall_by_the_decay(decay):
    parameter = torch.ones(3, 4)
    ema = EMA([("p", parameter)], decay)
    for places in walk(parameter, 30):
        ema.update()
        weights = [float(decay) ** age for age in reversed(range(len(places)))]
        mean = sum(w * place for w, place in zip(weights, places, strict=True)) / sum(weights)
        torch.testing.assert_close(ema.average("p").double(), mean, atol=2e-6, rtol=2e-6)


def test_the_averages_of_half_precision_parameters_are_float32_and_the_swap_back_is_exact():
    parameter = torch.ones(64, dtype=torch.bfloat16)
    ema = EMA([parameter], 0.99)
    for _ in walk(parameter, 20):
        ema.update()
    own, average = parameter.clone(), ema.average("0").clone()
    with ema.averaged():
        assert torch.equal(parameter, average.bfloat16())
    assert torch.equal(parameter, own)
    assert torch.equal(ema.average("0"), average)
    assert average.dtype == torch.float32


def test_the_model_holds_the_averages_inside_the_block_and_its_own_weights_after_even_an_error():
    model = tiny_model("gpt2")  # whose table is shared with the head
    ema = EMA(model, 0.5)
    ema.update()
    before = copy.deepcopy(model.state_dict())
    for parameter in model.parameters():
        parameter.data.mul_(3.0)
    ema.update()
    own = copy.deepcopy(model.state_dict())

    def evaluate():
        with ema.averaged():
            for name, now in model.state_dict().items():
                torch.testing.assert_close(now, (before[name] + 2 * own[name]) / 3)
            raise KeyError("an evaluation that fails")

    with pytest.raises(KeyError):
        evaluate()
    assert all(torch.equal(now, own[name]) for name, now in model.state_dict().items())


def test_a_run_with_an_ema_has_the_weights_of_one_without_and_the_averages_make_a_model_folder(tmp_path):
    models = [Transformer(tiny_config()) for _ in range(2)]
    optimizers = [AdamW(model.parameters()) for model in models]
    ema = EMA(models[0], 0.8)
    for step in range(4):
        ids = some_ids(2, 9, seed=step)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            model.loss(ids, ids).backward()
            optimizer.step()
        ema.update()
    for mine, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(mine, other)
    with ema.averaged():
        save_model(models[0], tmp_path / "averaged")
    ema.copy_to(models[1])
    for saved, copied in zip(
        load_model(tmp_path / "averaged").parameters(), models[1].parameters(), strict=True
    ):
        assert torch.equal(saved, copied)


def test_an_average_continued_from_its_state_is_the_uninterrupted_one_bit_for_bit():
    parameter = torch.ones(5)
    straight, stopped = EMA([parameter], 0.9), EMA([parameter], 0.9)
    for places in walk(parameter, 8):
        straight.update()
        if len(places) == 4:
            state = {name: tensor.clone() for name, tensor in stopped.state_dict().items()}
            stopped = EMA([parameter], 0.9)
            stopped.load_state_dict(state)
        stopped.update()
    assert torch.equal(stopped.average("0"), straight.average("0"))
    assert set(straight.state_dict()) == {"average.0", "step"}


def test_what_makes_no_sense_is_refused_with_the_reason():
    parameter = torch.ones(2)
    with pytest.raises(ConfigError, match=r"^decay must be in \[0, 1\), got 1.0$"):
        EMA([parameter], 1.0)
    with pytest.raises(ConfigError, match="at least one parameter, got none"):
        EMA([])
    ema = EMA([("p", parameter)], 0.9)
    with pytest.raises(ConfigError, match="no average yet; call update"):
        ema.swap()
    ema.update()
    ema.swap()
    with pytest.raises(ConfigError, match="the model holds the averages"):
        ema.update()
    ema.swap()
    with pytest.raises(ConfigError, match=r"1 missing \['p'\], 1 more than wanted \['q'\]"):
        ema.copy_to([("q", parameter)])
    with pytest.raises(ShapeError, match=r"^p must have the shape \(2,\), got \(3,\) in the model$"):
        ema.copy_to([("p", torch.ones(3))])
    with pytest.raises(ConfigError, match='must have a tensor "step"'):
        ema.load_state_dict({"average.p": parameter})
