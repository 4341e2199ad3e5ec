"""The grammar of the `stories` text: what is said, told through a `Teller` that makes every choice.

A choice is either a *draw* (a word is chosen; what follows only repeats it) or a *branch* (what follows depends on it).
Both are uniform and both say the chosen text at once, and no option of a choice is the beginning of another one.
So whoever reads a story from left to right knows every choice when it was made: text and choices determine each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

Words = tuple[str, ...]

OPENINGS = (
    "Once upon a time, there was a ",
    "Long ago, there lived a ",
    "In a small town, there was a ",
    "Near the sea, there lived a ",
)
TRAITS = ("kind", "brave", "clever", "quiet", "funny", "gentle", "curious", "patient")
GIRLS = (
    "Lily",
    "Mia",
    "Anna",
    "Zoe",
    "Ruth",
    "Nora",
    "Clara",
    "Ivy",
    "Emma",
    "Rosa",
    "Julia",
    "Wendy",
    "Tara",
    "Hana",
    "Greta",
    "Priya",
)
BOYS = (
    "Tom",
    "Ben",
    "Max",
    "Leo",
    "Sam",
    "Jack",
    "Finn",
    "Omar",
    "Paul",
    "Hugo",
    "Oscar",
    "David",
    "Yusuf",
    "Kenji",
    "Theo",
    "Victor",
)
HOBBIES = (
    "sing songs", "paint pictures", "climb trees", "read books", "bake bread", "watch the clouds", "dance in the kitchen",
    "count the stars", "build towers", "plant flowers", "swim in the lake", "tell jokes",
)  # fmt: skip
TIMES = (
    "One morning, ",
    "One sunny day, ",
    "One cold day, ",
    "After lunch, ",
    "On Sunday, ",
    "Late in the spring, ",
)
PLACES = ("park", "garden", "beach", "forest", "market", "river", "meadow", "farm", "library", "hill")
COLOURS = ("red", "blue", "green", "yellow", "white", "purple", "brown", "pink", "silver", "golden")
THINGS = (
    "ball",
    "kite",
    "drum",
    "doll",
    "boat",
    "hat",
    "book",
    "bell",
    "scarf",
    "basket",
    "lantern",
    "whistle",
    "puzzle",
    "blanket",
)
SPOTS = (
    "under a bench",
    "behind a rock",
    "next to the gate",
    "in the tall grass",
    "beside the path",
    "on a tree stump",
    "near the pond",
    "by the old wall",
)
FRUITS = ("apples", "pears", "plums", "cherries", "nuts", "cookies", "berries", "buns")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ANIMALS = ("dog", "cat", "rabbit", "duck", "fox", "pony", "goat", "hedgehog", "squirrel", "turtle")
TROUBLES = (
    "was stuck in the mud",
    "had hurt its foot",
    "was lost in the fog",
    "could not find its home",
    "was very hungry",
    "shook with cold",
)
PET_NAMES = (
    "Biscuit",
    "Pepper",
    "Button",
    "Shadow",
    "Clover",
    "Pickle",
    "Daisy",
    "Waffle",
    "Ginger",
    "Marble",
)
RAINY_GAMES = (
    "played cards",
    "told stories",
    "drew pictures",
    "built a tent",
    "made paper boats",
    "sang together",
)
DRINKS = ("hot cocoa", "warm milk", "mint tea", "apple juice", "honey water")
WISHES = ("dreamed of", "wished for", "talked about", "longed for")
GOOD_FEELINGS = ("happy", "glad", "proud", "thankful", "cheerful", "calm")
MORALS = (
    "A good friend is worth more than gold.", "It feels good to help.", "From then on, they met every day.", "And that was the best day of the year.",
    "They laughed all the way home.", "That night, everybody slept well.", "Nobody ever forgot that day.", "The end.",
)  # fmt: skip


class Teller(Protocol):
    """Who tells a story: writes one, reads one, or sums over all of them (`stories.py`)."""

    def say(self, *texts: str) -> None:
        """Says what is not chosen here: fixed text and words that were drawn before."""

    def draw(self, options: Words, *, but: str | None = None) -> str:
        """Chooses one option, says it, gives it back to be said again. `but` was drawn from the same options before."""

    def branch(self, options: Words) -> int:
        """Chooses one option, says it, gives its number."""


@dataclass(frozen=True)
class Child:
    name: str
    he: str
    him: str
    his: str


def tell(teller: Teller) -> None:
    """One story, from its first letter to the line end after its last sentence."""
    say = teller.say
    teller.draw(OPENINGS)
    teller.draw(TRAITS)
    say(" ")
    hero_is_a_girl = teller.branch(("girl", "boy")) == 0
    say(" named ")
    hero = _child(teller, hero_is_a_girl)
    say(". ", hero.name, " loved to ")
    teller.draw(HOBBIES)
    say(" with ", hero.his, " ")
    friend_is_a_girl = teller.branch(("friend, a girl named ", "neighbour, a boy named ")) == 0
    friend = _child(teller, friend_is_a_girl, but=hero.name if friend_is_a_girl == hero_is_a_girl else None)
    say(".\n")
    plots = (_lost, _shared, _rescued, _rained, _gave)
    plots[
        teller.branch(
            ("But one day, ", "At noon, ", "In the evening, ", "Then the sky turned grey. ", "Every night, ")
        )
    ](teller, hero, friend)
    say("\n")
    teller.draw(MORALS)
    say("\n")


def _child(teller: Teller, girl: bool, but: str | None = None) -> Child:
    if girl:
        return Child(teller.draw(GIRLS, but=but), "she", "her", "her")
    return Child(teller.draw(BOYS, but=but), "he", "him", "his")


def _lost(teller: Teller, hero: Child, friend: Child) -> None:
    """Something is laid down, missed, and found where it was laid."""
    say = teller.say
    say(hero.name, " took a ")
    colour = teller.draw(COLOURS)
    say(" ")
    thing = teller.draw(THINGS)
    say(" to the ")
    place = teller.draw(PLACES)
    say(" and left it ")
    spot = teller.draw(SPOTS)
    say(". At home, ", hero.he, " could not find the ", colour, " ", thing, ". ")
    if teller.branch(('"Where is my ', '"Do not be sad, ')) == 0:
        say(
            colour,
            " ",
            thing,
            '?" cried ',
            hero.name,
            ". ",
            friend.name,
            " went back to the ",
            place,
            " with ",
            hero.him,
            ".",
        )
    else:
        say(hero.name, '," said ', friend.name, '. "Let us go back to the ', place, '."')
    say(
        " They looked and looked. There it was, ",
        spot,
        "! ",
        hero.name,
        " held the ",
        colour,
        " ",
        thing,
        " and felt ",
    )
    teller.draw(GOOD_FEELINGS)
    say(".")


def _shared(teller: Teller, hero: Child, friend: Child) -> None:
    """Some fruits are given away; what is left is a subtraction."""
    say = teller.say
    say(hero.name, " sat in the ")
    place = teller.draw(PLACES)
    say(" with ")
    total = 3 + teller.branch(NUMBERS[3:])
    say(" ")
    fruits = teller.draw(FRUITS)
    say(
        ". ",
        friend.name,
        " had ",
        NUMBERS[0],
        " ",
        fruits,
        " and looked at ",
        hero.him,
        '. "Here," said ',
        hero.name,
        ', "take ',
    )
    given = 1 + teller.branch(NUMBERS[1:total])
    say(
        '." So ',
        friend.name,
        " had ",
        NUMBERS[given],
        " and ",
        hero.name,
        " had ",
        NUMBERS[total - given],
        " ",
        fruits,
    )
    say(". They ate in the ", place, " and felt ")
    teller.draw(GOOD_FEELINGS)
    say(".")


def _rescued(teller: Teller, hero: Child, friend: Child) -> None:
    """An animal in trouble is helped and gets a name."""
    say = teller.say
    say(hero.name, " and ", friend.name, " saw a ")
    colour = teller.draw(COLOURS)
    say(" ")
    animal = teller.draw(ANIMALS)
    say(" in the ")
    place = teller.draw(PLACES)
    say(". It ")
    trouble = teller.draw(TROUBLES)
    say(
        '. "We must help the ',
        animal,
        " that ",
        trouble,
        '," said ',
        friend.name,
        ". ",
        hero.name,
        " took the ",
        colour,
        " ",
        animal,
    )
    say(" home. They named it ")
    pet = teller.draw(PET_NAMES)
    if teller.branch((" and gave it ", ". Soon ")) == 0:
        teller.draw(FRUITS)
        say(". Every day, ", pet, " waited for ", friend.name, " at the gate.")
    else:
        say(pet, " ran through the ", place, " again, and ", hero.name, " felt ")
        teller.draw(GOOD_FEELINGS)
        say(".")


def _rained(teller: Teller, hero: Child, friend: Child) -> None:
    """A wet afternoon indoors, with what was drunk and played remembered at night."""
    say = teller.say
    say("It rained, and the friends ran from the ")
    place = teller.draw(PLACES)
    say(" to the house of ")
    hero_is_host = teller.branch(("the girl", "the boy")) == 0 if hero.he != friend.he else None
    host, guest = (
        (hero, friend) if hero_is_host is None or hero_is_host == (hero.he == "she") else (friend, hero)
    )
    say(" ", host.name) if hero_is_host is not None else say(host.name)
    say(". They drank ")
    drink = teller.draw(DRINKS)
    say(" and ")
    game = teller.draw(RAINY_GAMES)
    say(
        " until the sun came back. At night, ",
        guest.name,
        " told ",
        guest.his,
        ' mother: "At ',
        host.name,
        "'s house we had ",
        drink,
    )
    say(" and ", game, ". Nobody went to the ", place, '."')


def _gave(teller: Teller, hero: Child, friend: Child) -> None:
    """A wish is heard, worked for, and comes true."""
    say = teller.say
    say(friend.name, " ")
    teller.draw(WISHES)
    say(" a ")
    colour = teller.draw(COLOURS)
    say(" ")
    thing = teller.draw(THINGS)
    say(". ", hero.name, " had ")
    coins = 1 + teller.branch(NUMBERS[1:5])
    say(" coins" if coins > 1 else " coin", " and needed ")
    needed = coins + 1 + teller.branch(NUMBERS[coins + 1 :])
    say(". So ", hero.he, " worked at the ")
    place = teller.draw(PLACES)
    missing = needed - coins
    say(
        " and earned ",
        NUMBERS[missing],
        " more. On the way home from the ",
        place,
        ", ",
        hero.he,
        " bought the ",
        thing,
        ". ",
    )
    say('"A ', colour, " ", thing, '!" said ', friend.name, " and felt ")
    teller.draw(GOOD_FEELINGS)
    say(".")
