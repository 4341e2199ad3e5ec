import hashlib
import itertools
import math

import pytest
from lm_train.texts import story_grammar
from lm_train.texts.stories import NotAStoryError, stories, story, story_bits, story_entropy
from lm_train.texts.story_grammar import tell


class Listener:
    """Walks one path of branches, taking the first word of each draw, and notes every list of options it is given."""

    def __init__(self, path):
        self.path, self.branches, self.seen = path, [], []

    def say(self, *texts):
        pass

    def draw(self, options, *, but=None):
        self.seen.append(options)
        return next(option for option in options if option != but)

    def branch(self, options):
        self.seen.append(options)
        number = len(self.branches)
        self.branches.append((self.path[number] if number < len(self.path) else 0, len(options)))
        return self.branches[-1][0]


def all_options():
    path, seen = [], set()
    while True:
        listener = Listener(path)
        tell(listener)
        seen.update(listener.seen)
        path = [taken for taken, _ in listener.branches]
        while path and path[-1] + 1 == listener.branches[len(path) - 1][1]:
            path.pop()
        if not path:
            return seen
        path[-1] += 1


def test_no_option_of_a_choice_is_the_beginning_of_another_so_a_text_tells_its_choices():
    options = all_options()
    assert len(options) > 25
    for choice in options:
        assert len(set(choice)) == len(choice)
        for one, other in itertools.permutations(choice, 2):
            assert not other.startswith(one), (one, other)


def test_the_probability_of_a_story_multiplies_out_by_hand():
    text = (
        "Long ago, there lived a kind girl named Mia. Mia loved to tell jokes with her friend, a girl named Zoe.\n"
        "At noon, Mia sat near the park. It was very quiet there. Mia had four nuts in a red bag. Zoe had no nuts at all. "
        '"Here, take one," said Mia. So Zoe had one and Mia had three. They put the red bag away and walked from the park to the mill.\n'
        "The end.\n"
    )
    # opening, trait, girl/boy, name, hobby, friend, another name, plot, place, mood, 3..9, fruit, colour, 1..3, another place, moral
    choices = [8, 16, 2, 20, 16, 2, 19, 5, 16, 8, 7, 10, 12, 3, 15, 12]
    assert story_bits(text) == pytest.approx(sum(math.log2(n) for n in choices), abs=1e-9)


def test_each_story_reads_back_and_their_mean_is_the_computed_entropy():
    texts = [story(number, seed=5) for number in range(4_000)]
    bits = [story_bits(text) for text in texts]
    exact = story_entropy()
    deviation = math.sqrt(sum((b - exact.bits_per_story) ** 2 for b in bits) / len(bits) / len(bits))
    assert abs(sum(bits) / len(bits) - exact.bits_per_story) < 4 * deviation
    sizes = [len(text.encode()) for text in texts]
    spread = math.sqrt(sum((s - exact.bytes_per_story) ** 2 for s in sizes) / len(sizes) / len(sizes))
    assert abs(sum(sizes) / len(sizes) - exact.bytes_per_story) < 4 * spread
    assert exact.bits_per_byte == pytest.approx(sum(bits) / sum(sizes), rel=0.01)


def test_the_probabilities_of_all_stories_of_a_small_grammar_sum_to_one(monkeypatch):
    def small(teller):
        teller.say("A ")
        name = teller.draw(("cat", "dog", "owl"))
        if teller.branch((" saw a ", " slept")) == 0:
            teller.draw(("cat", "dog", "owl"), but=name)
        teller.say(".")

    monkeypatch.setattr("lm_train.texts.stories.tell", small)
    texts = {story(number) for number in range(500)}
    assert len(texts) == 3 * (2 + 1)
    probabilities = {text: 2 ** -story_bits(text) for text in texts}
    assert sum(probabilities.values()) == pytest.approx(1)
    exact = story_entropy.__wrapped__()
    assert exact.bits_per_story == pytest.approx(sum(-p * math.log2(p) for p in probabilities.values()))
    assert exact.bytes_per_story == pytest.approx(sum(p * len(text) for text, p in probabilities.items()))


def test_the_stories_of_a_seed_are_the_same_everywhere():
    assert story(0) == (
        "At the edge of a wood, there lived a polite girl named Wendy. Wendy loved to tell jokes with her friend, a girl named Julia.\n"
        'Every night, Julia asked for a pink scarf. It cost six coins, and Wendy had only four. So she went to the harbour and fed the hens. A cold wind came from the north. For two more, she fed the hens until night. Then she left the harbour and bought the scarf. "A pink scarf!" said Julia and felt safe.\n'
        "And tomorrow is another day.\n"
    )
    text = "".join(itertools.islice(stories(seed=1), 200))
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "6879a7fb967a452a323da8e17a2f11104c65adeb6b7fff4bf048a4765c7965f8"
    )
    assert text.isascii()


def test_another_seed_or_number_tells_another_story():
    assert len({story(number, seed) for number in range(50) for seed in range(4)}) == 200


def test_names_and_objects_are_kept():
    for number in range(300):
        words = story(number).replace(".", " ").replace(",", " ").replace('"', " ").split()
        named = {word for word in words if word in story_grammar.GIRLS + story_grammar.BOYS}
        assert len(named) == 2, story(number)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("The end.", "The End."), "wanted 'A good friend"),
        (lambda text: text + "x", "the story ends at character"),
        (lambda text: text[:-1], "wanted '\\\\n'"),
        (lambda text: text.replace("Mia had three", "Mia had two"), "wanted 'three', got 'two"),
        (lambda text: "", "character 0: wanted 'Once upon a time, there was a'"),
    ],
)
def test_a_text_that_the_grammar_never_tells_is_refused_where_it_leaves_it(change, message):
    text = (
        "Long ago, there lived a kind girl named Mia. Mia loved to tell jokes with her friend, a girl named Zoe.\n"
        "At noon, Mia sat near the park. It was very quiet there. Mia had four nuts in a red bag. Zoe had no nuts at all. "
        '"Here, take one," said Mia. So Zoe had one and Mia had three. They put the red bag away and walked from the park to the mill.\n'
        "The end.\n"
    )
    with pytest.raises(NotAStoryError, match=message):
        story_bits(change(text))
