import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_train.tokens.held_out import HeldOut, choose_rule, split_pieces

texts = st.lists(st.text(st.sampled_from("ab é日\n"), min_size=1, max_size=30), min_size=1, max_size=30)


def whole(pieces):
    """Documents by split, joined from their pieces."""
    found, parts = {"train": [], "valid": []}, []
    for split, text, last in pieces:
        parts.append(text)
        if last:
            found[split].append("".join(parts))
            parts = []
    assert not parts
    return found


@given(texts=texts, every=st.integers(2, 7), seed=st.integers(0, 5))
@settings(deadline=None)
def test_of_each_group_of_documents_exactly_one_is_held_out_and_all_come_once(texts, every, seed):
    rule = HeldOut("documents", every=every, seed=seed)
    splits = [split for split, _, _ in split_pieces(((text, True) for text in texts), rule)]
    assert len(splits) == len(texts)
    for start in range(0, len(texts) - every + 1, every):
        assert splits[start : start + every].count("valid") == 1


def test_pieces_of_one_document_stay_together_and_the_seed_chooses_which():
    pieces = [(f"{document}.{part} ", part == 2) for document in range(40) for part in range(3)]
    chosen = set()
    for seed in range(8):
        found = whole(split_pieces(iter(pieces), HeldOut("documents", every=4, seed=seed)))
        assert len(found["valid"]) == 10
        assert all(text.split()[0].split(".")[0] == text.split()[2].split(".")[0] for text in found["valid"])
        chosen.add(tuple(found["valid"]))
    assert len(chosen) > 4


@given(texts=texts, share=st.floats(0.01, 0.9))
@settings(deadline=None)
def test_the_tail_is_the_end_of_the_text_and_nothing_is_lost(texts, share):
    total = sum(len(text.encode()) for text in texts)
    limit = total - int(total * share)
    found = whole(split_pieces(((text, True) for text in texts), HeldOut("tail", train_bytes=limit)))
    train, valid = "".join(found["train"]), "".join(found["valid"])
    assert train + valid == "".join(texts)
    assert len(train.encode()) <= limit


def test_one_long_text_is_cut_after_the_last_line_before_the_share():
    text = "".join(f"line {number}\n" for number in range(100))
    rule = choose_rule(1, len(text), 0.1, seed=0)
    found = whole(split_pieces(iter([(text, True)]), rule))
    assert found["train"][0].endswith("\n")
    assert found["valid"][0].startswith("line ")
    assert 0.88 < len(found["train"][0]) / len(text) <= 0.9


def test_without_a_line_end_the_cut_is_at_a_word_and_without_a_word_at_a_character():
    assert whole(split_pieces(iter([("one two three", True)]), HeldOut("tail", train_bytes=10)))["train"] == [
        "one two "
    ]
    assert whole(split_pieces(iter([("日本語の", True)]), HeldOut("tail", train_bytes=7)))["train"] == [
        "日本"
    ]


@pytest.mark.parametrize(
    ("documents", "rule"), [(1, "tail"), (19, "tail"), (20, "documents"), (10**9, "documents")]
)
def test_many_documents_are_held_out_whole_few_give_their_tail(documents, rule):
    assert choose_rule(documents, 1_000, 0.05, seed=0).rule == rule


def test_a_share_of_nothing_holds_nothing_out():
    rule = choose_rule(1_000, 1_000, 0, seed=0)
    assert whole(split_pieces(iter([("a", True), ("b", True)]), rule)) == {"train": ["a", "b"], "valid": []}
