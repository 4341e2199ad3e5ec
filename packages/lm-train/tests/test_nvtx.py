"""`LM_NVTX`: which names are put on a time line, and that nothing is there without it. A list stands for the GPU's."""

import pytest
import torch
from lm_core import ModelConfig, Transformer
from lm_train.errors import ConfigError
from lm_train.nvtx import both, marking, nvtx_level
from lm_train.profiling import MemoryRecord, no_ranges


class FakeNvtx:
    def __init__(self):
        self.seen, self.open = [], 0

    def range_push(self, msg):
        self.seen.append(msg)
        self.open += 1

    def range_pop(self):
        self.open -= 1


@pytest.fixture
def model():
    return Transformer(ModelConfig(vocab_size=10, context=4, d_model=8, n_layers=1, n_heads=2, d_ff=16))


def one_step(ranges, model):
    """A step as the loop and step.py mark it."""
    with ranges("step"):
        with ranges("forward"):
            model(torch.zeros(1, 2, dtype=torch.int64))
        with ranges("update"):
            pass


@pytest.mark.parametrize(("level", "names"), [("coarse", ["step"]), ("fine", ["step", "forward", "update"])])
def test_a_level_marks_its_parts(model, level, names):
    nvtx = FakeNvtx()
    one_step(marking(level, nvtx, model), model)
    assert (nvtx.seen, nvtx.open) == (names, 0)


def test_verbose_marks_every_module_that_runs_and_closes_each_mark(model):
    nvtx = FakeNvtx()
    one_step(marking("verbose", nvtx, model), model)
    assert nvtx.seen[:3] == ["step", "forward", "embedding"]
    assert {"blocks.0", "blocks.0.attention.q", "norm", "head"} <= set(nvtx.seen)
    assert nvtx.open == 0
    with pytest.raises(Exception, match="token id 10"):
        model(torch.full((1, 2), 10))
    assert nvtx.open == 0


def test_without_it_nothing_is_made_and_no_module_has_a_hook(model):
    assert marking(None, FakeNvtx(), model) is no_ranges
    assert both(no_ranges, no_ranges) is no_ranges
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_two_kinds_of_ranges_are_both_open():
    one, other = FakeNvtx(), FakeNvtx()
    empty = torch.nn.Module()
    with both(marking("fine", one, empty), marking("fine", other, empty))("clip"):
        assert (one.open, other.open) == (1, 1)
    assert (one.seen, other.seen, one.open, other.open) == (["clip"], ["clip"], 0, 0)


def test_a_level_that_there_is_not_is_refused():
    assert nvtx_level({}) is None
    assert nvtx_level({"LM_NVTX": "verbose"}) == "verbose"
    with pytest.raises(ConfigError, match="LM_NVTX must be one of coarse, fine, verbose, got all"):
        nvtx_level({"LM_NVTX": "all"})


def test_the_allocators_record_is_written_as_text_and_json(tmp_path):
    calls = []

    class FakeMemory:
        def _record_memory_history(self, **settings):
            calls.append(settings)

        def memory_summary(self):
            return "a table"

        def _snapshot(self):
            return {"segments": [{"address": 7}]}

    record = MemoryRecord(FakeMemory())
    record.start()
    assert record.write(tmp_path) == ["memory.txt", "memory.json"]
    assert (tmp_path / "memory.txt").read_text() == "a table"
    assert (tmp_path / "memory.json").read_text() == '{"segments": [{"address": 7}]}'
    assert calls == [{"max_entries": 100_000}, {"enabled": None}]
