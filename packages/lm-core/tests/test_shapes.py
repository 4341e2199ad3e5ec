"""Each layer refuses a wrong shape in its own words; the type checker of the tests, which would speak first, is off for that."""

import jaxtyping
import pytest
import torch
from lm_core import (
    Attention,
    Embedding,
    LayerNorm,
    Linear,
    RMSNorm,
    RotaryEmbedding,
    SwiGLU,
    attend,
)
from lm_core.errors import ShapeError
from lm_core.feed_forward import MLP
from tiny_models import tiny_config, tiny_model


@pytest.fixture(autouse=True)
def no_type_checker():
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def zeros(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


WRONG = {
    "linear": (lambda: Linear(6, 5)(zeros(2, 3)), ["x must be (..., d_in) with d_in = 6, got (2, 3)"]),
    "linear, nothing": (lambda: Linear(6, 5)(torch.tensor(0.0)), ["d_in = 6, got ()"]),
    "rms norm": (lambda: RMSNorm(4)(zeros(2, 1)), ["x must be (..., d_model) with d_model = 4, got (2, 1)"]),
    "layer norm": (
        lambda: LayerNorm(4)(zeros(2, 5)),
        ["x must be (..., d_model) with d_model = 4, got (2, 5)"],
    ),
    "swiglu": (lambda: SwiGLU(4, 8)(zeros(2, 5)), ["x must be (..., d_in) with d_in = 4, got (2, 5)"]),
    "mlp": (lambda: MLP(4, 8, "gelu")(zeros(2, 5)), ["x must be (..., d_in) with d_in = 4, got (2, 5)"]),
    "rotation": (
        lambda: RotaryEmbedding(8, 16)(zeros(2, 6)),
        ["x must be (..., d_head) with d_head = 8, got (2, 6)"],
    ),
    "attention": (lambda: Attention(tiny_config())(zeros(2, 3, 31)), ["with d_in = 32, got (2, 3, 31)"]),
    "attention, axes": (
        lambda: Attention(tiny_config())(zeros(3, 32)),
        ["(batch, length, d_model), got (3, 32)"],
    ),
    "keys": (
        lambda: attend(zeros(2, 4), zeros(3, 5), zeros(3, 4)),
        ["k must be (..., d_head) with d_head = 4, got (3, 5)"],
    ),
    "values": (
        lambda: attend(zeros(2, 4), zeros(3, 4), zeros(2, 4)),
        ["v must have k's 3 keys, got (2, 4) beside (3, 4)"],
    ),
    "mask": (
        lambda: attend(zeros(2, 4), zeros(3, 4), zeros(3, 4), zeros(3, 2, dtype=torch.bool)),
        ["mask must be (..., queries, keys), here (..., 2, 3), got (3, 2)"],
    ),
    "ids": (
        lambda: Embedding(9, 4)(zeros(2, 3)),
        ["ids must be int32 or int64, got torch.float32 of shape (2, 3)"],
    ),
    "ids of a model": (
        lambda: tiny_model()(zeros(3, dtype=torch.long)),
        ["ids must be (batch, length)", "got (3,)"],
    ),
    "hidden states": (
        lambda: tiny_model(tie_embeddings=True).logits(zeros(1, 31)),
        ["d_in = 32, got (1, 31)"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_shape_is_refused_with_the_argument_the_shape_wanted_and_the_shape_got(name):
    call, wanted = WRONG[name]
    with pytest.raises(ShapeError) as caught:
        call()
    for words in wanted:
        assert words in str(caught.value)


def test_a_mask_may_still_be_one_row_for_all_queries():
    q, k = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0)).unbind(0)
    row = torch.tensor([[True, False]])
    torch.testing.assert_close(attend(q, k, k, row), attend(q, k, k, row.expand(2, 2)))
