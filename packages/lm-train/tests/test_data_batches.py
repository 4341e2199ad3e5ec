import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_train.batches import Batches, ValidationWindows
from lm_train.dataset import TokenDataset
from lm_train.errors import TooFewTokensError
from lm_train.prepare import prepare


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """Opens a dataset whose token number i is the id i, of any length."""
    folder = tmp_path_factory.mktemp("counting")

    def opened(tokens):
        path = folder / f"{tokens}.npy"
        if not path.exists():
            np.save(path, np.arange(tokens, dtype="<u4"))
        return TokenDataset(path)

    return opened


def test_a_batch_is_int64_windows_whose_targets_are_one_later(counting):
    inputs, targets = Batches(counting(1_000), context=16, batch=4, seed=0).batch(3)
    assert inputs.shape == targets.shape == (4, 16)
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.is_contiguous()
    assert targets.is_contiguous()
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(16))


@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(2, 400),
    context=st.integers(1, 40),
    batch=st.integers(1, 9),
    seed=st.integers(0, 2**63 - 1),
)
def test_each_epoch_holds_each_window_once_whatever_the_batch(counting, tokens, context, batch, seed):
    dataset = counting(tokens)
    if tokens <= context:
        with pytest.raises(TooFewTokensError):
            Batches(dataset, context=context, batch=batch, seed=seed)
        return
    batches = Batches(dataset, context=context, batch=batch, seed=seed)
    steps = -(-3 * batches.windows // batch)
    starts = [start for step in range(steps) for start in batches.window_starts(step)]
    for epoch in range(3):
        windows = sorted(starts[epoch * batches.windows : (epoch + 1) * batches.windows])
        offset = windows[0]
        assert windows == [offset + context * number for number in range(batches.windows)]
        assert offset >= 0
        assert windows[-1] + context + 1 <= tokens
        assert (
            tokens - 1 - batches.windows * context < 2 * context
        )  # never a whole window too few behind offset 0


def test_the_offset_moves_between_epochs_over_its_whole_range(counting):
    batches = Batches(counting(100), context=8, batch=11, seed=1)
    assert batches.windows == 11
    offsets = {min(batches.window_starts(epoch)) for epoch in range(200)}
    assert offsets == set(range(99 - 11 * 8 + 1))


def test_every_token_but_the_first_is_a_target_over_the_epochs(counting):
    batches = Batches(counting(101), context=8, batch=11, seed=1)
    seen = set()
    for epoch in range(100):
        seen |= set(batches.batch(epoch)[1].flatten().tolist())
    assert seen == set(range(1, 101))


def test_a_batch_is_the_same_in_a_fresh_reader_at_any_step_in_any_order(counting):
    """D7: resuming needs nothing but the step: in epoch 1, at its end, in epoch 3."""
    dataset = counting(203)
    unbroken = Batches(dataset, context=8, batch=3, seed=5)
    steps = range(3 * unbroken.windows // 3 + 2)
    wanted = [unbroken.batch(step) for step in steps]
    backwards = Batches(dataset, context=8, batch=3, seed=5)
    for step in reversed(steps):
        fresh = Batches(dataset, context=8, batch=3, seed=5)
        for batches in (fresh, backwards):
            inputs, targets = batches.batch(step)
            assert torch.equal(inputs, wanted[step][0])
            assert torch.equal(targets, wanted[step][1])


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6, 12])
def test_any_number_of_ranks_reads_the_same_global_batch(counting, ranks):
    batches = Batches(counting(500), context=7, batch=12, seed=3)
    share = 12 // ranks
    for step in (0, 5, 6):  # 69 windows: step 5 crosses into the second epoch
        parts = [batches.rows(step, rank * share, (rank + 1) * share) for rank in range(ranks)]
        inputs, targets = batches.batch(step)
        assert torch.equal(torch.cat([part[0] for part in parts]), inputs)
        assert torch.equal(torch.cat([part[1] for part in parts]), targets)


def test_another_seed_or_epoch_gives_another_order(counting):
    dataset = counting(1_000)
    orders = set()
    for seed in range(3):
        batches = Batches(dataset, context=4, batch=1, seed=seed)
        for epoch in range(3):
            orders.add(
                tuple(
                    start
                    for step in range(30)
                    for start in batches.window_starts(epoch * batches.windows + step)
                )
            )
    assert len(orders) == 9


def test_the_order_is_that_of_version_1(counting):
    # docs/data-order.md works this example
    batches = Batches(counting(100), context=8, batch=4, seed=0)
    assert [batches.window_starts(step) for step in range(4)] == [
        [19, 83, 51, 67],
        [43, 11, 75, 35],
        [59, 27, 3, 21],
        [53, 85, 69, 77],
    ]


def test_epochs_and_steps_are_counted(counting):
    batches = Batches(counting(1_000), context=10, batch=4, seed=0)
    assert batches.windows == 99
    assert batches.steps_per_epoch == 99 / 4
    assert batches.tokens_per_step == 40
    assert batches.epoch(99) == 4.0


@pytest.mark.parametrize("tokens", [1, 2, 12, 127, 128])
def test_too_short_a_text_is_refused_with_the_arithmetic(counting, tokens):
    message = rf"need at least context \+ 1 = 129 tokens for one window, got {tokens} in the train split of .*; give more text, or a context of at most {tokens - 1}$"
    with pytest.raises(TooFewTokensError, match=message):
        Batches(counting(tokens), context=128, batch=1, seed=0)


def test_exactly_one_window_is_enough(counting):
    batches = Batches(counting(129), context=128, batch=2, seed=0)
    assert batches.windows == 1
    assert batches.batch(7)[0][:, 0].tolist() == [0, 0]


@pytest.mark.parametrize(("step", "start", "stop"), [(-1, 0, 4), (0, -1, 4), (0, 0, 5), (0, 3, 2)])
def test_rows_that_are_not_there_are_refused(counting, step, start, stop):
    with pytest.raises(ValueError, match="of a batch of 4"):
        Batches(counting(100), context=8, batch=4, seed=0).rows(step, start, stop)


def test_windows_lie_across_files(tmp_path):
    np.arange(0, 37, dtype="<u2").tofile(tmp_path / "x_train_000.bin")
    np.arange(37, 40, dtype="<u2").tofile(tmp_path / "x_train_001.bin")
    np.arange(40, 100, dtype="<u2").tofile(tmp_path / "x_train_002.bin")
    batches = Batches(TokenDataset(tmp_path), context=9, batch=5, seed=0)
    for step in range(10):
        inputs, targets = batches.batch(step)
        assert torch.equal(inputs, inputs[:, :1] + torch.arange(9))
        assert torch.equal(targets, inputs + 1)


def test_validation_predicts_each_token_once_in_order(counting):
    windows = ValidationWindows(counting(103), context=8, batch=5, split="train")
    assert (windows.windows, windows.tokens, len(windows)) == (12, 96, 3)
    batches = list(windows)
    assert [inputs.shape[0] for inputs, _ in batches] == [5, 5, 2]
    assert torch.equal(torch.cat([targets for _, targets in batches]).flatten(), torch.arange(1, 97))
    assert torch.equal(torch.cat([inputs for inputs, _ in windows]).flatten(), torch.arange(96))


def test_fewer_validation_windows_are_spread_evenly_and_always_the_same(counting):
    windows = ValidationWindows(counting(1_001), context=10, batch=4, windows=5, split="train")
    assert windows.windows == 5
    assert torch.cat([inputs for inputs, _ in windows])[:, 0].tolist() == [0, 200, 400, 600, 800]
    assert ValidationWindows(counting(1_001), context=10, batch=4, windows=999, split="train").windows == 100


def test_a_short_validation_text_is_one_shorter_window(counting):
    windows = ValidationWindows(counting(5), context=128, batch=4, split="train")
    assert windows.tokens == 4
    assert [inputs.tolist() for inputs, _ in windows] == [[[0, 1, 2, 3]]]
    with pytest.raises(TooFewTokensError, match="need at least 2 tokens to predict one, got 1"):
        ValidationWindows(counting(1), context=128, batch=4, split="train")


def test_a_batch_number_outside_is_an_index_error(counting):
    windows = ValidationWindows(counting(100), context=8, batch=5, split="train")
    for number in (-1, len(windows)):
        with pytest.raises(IndexError):
            windows[number]


def test_the_bytes_of_validation_are_those_of_the_text_that_is_predicted(tmp_path):
    text = "".join(f"Zeile {number}: größer, 日本 und mehr.\n" for number in range(120))
    (tmp_path / "text.txt").write_text(text)
    dataset = prepare(tmp_path / "text.txt", tmp_path / "data", vocab_size=300, valid_share=0.3)
    tokenizer = dataset.load_tokenizer()
    windows = ValidationWindows(dataset, context=16, batch=4)
    predicted = [token for _, targets in windows for token in targets.flatten().tolist()]
    assert windows.text_bytes == len(
        tokenizer.decode_bytes([token for token in predicted if token != dataset.end_of_text])
    )
    everything = ValidationWindows(dataset, context=dataset.tokens("valid") - 1, batch=1)
    first = dataset.read("valid", 0, 1).tolist()
    assert everything.text_bytes + len(tokenizer.decode_bytes(first)) == dataset.text_bytes("valid")


def test_without_a_tokenizer_the_bytes_are_unknown(counting):
    assert ValidationWindows(counting(100), context=8, batch=5, split="train").text_bytes is None
