import pytest
import torch
from lm_core import Embedding
from lm_core.errors import ShapeError
from same_gradients import DTYPES, assert_same, randn


@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding_is_torchs_in_value_and_gradient_also_for_repeated_ids(dtype):
    ids = torch.tensor([[0, 3, 3], [6, 0, 3]])
    layer = Embedding(7, 4).to(dtype)

    def ours(table):
        return torch.func.functional_call(layer, {"weight": table}, (ids,))

    assert_same(ours, lambda table: torch.nn.functional.embedding(ids, table), randn(7, 4, dtype=dtype))


@pytest.mark.parametrize("ids", [torch.tensor(5), torch.tensor([5, 1]), torch.zeros(2, 0, dtype=torch.long)])
def test_any_shape_of_ids_gets_one_axis_more(ids):
    assert Embedding(7, 4)(ids).shape == (*ids.shape, 4)


@pytest.mark.parametrize("bad", [7, 1000, -1])
def test_an_id_outside_the_vocabulary_is_named(bad):
    with pytest.raises(ShapeError, match=rf"token id {bad} is outside the vocabulary \(0\.\.6\)"):
        Embedding(7, 4)(torch.tensor([[0, bad]]))
