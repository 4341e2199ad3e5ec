"""The grammar of the `stories` text: what is said, told through a `Teller` that makes every choice.

A choice is either a *draw* (words are chosen; what follows only repeats them) or a *branch* (what follows depends on it).
Both are uniform, both say what was chosen at once, and no option of a choice is the beginning of another one.
So whoever reads a story from left to right knows every choice as it is made: text and choices determine each other.

What was drawn stays true: names, pronouns, colours, places and numbers are used again later, which a model has to learn.
Changing anything here changes the text, its entropy and the golden story in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

Words = tuple[str, ...]


def _words(text: str) -> Words:
    return tuple(text.split())


def _phrases(text: str) -> Words:
    return tuple(phrase.strip() for phrase in text.split("/"))


GIRLS = _words(
    "Lily Mia Anna Zoe Ruth Nora Clara Ivy Emma Rosa Julia Wendy Tara Hana Greta Priya Olga Stella Freya Kira"
)
BOYS = _words(
    "Tom Ben Max Leo Sam Jack Finn Omar Paul Hugo Oscar David Yusuf Kenji Theo Victor Ravi Emil Noah Arthur"
)
TRAITS = _words(
    "kind brave clever quiet funny gentle curious patient friendly careful polite shy wise lively humble merry"
)
COLOURS = _words("red blue green yellow white purple brown pink silver golden grey black")
LOOKS = _words("little big new round tiny shiny pretty heavy soft strange lovely striped")
THINGS = _words(
    "ball kite drum doll boat hat book bell scarf basket lantern whistle puzzle blanket mirror spoon cup ribbon"
)
PLACES = _words(
    "park garden beach forest market river meadow farm library hill bridge castle harbour school mill orchard"
)
FRUITS = _words("apples pears plums cherries nuts cookies berries buns peaches walnuts")
NUMBERS = _words("no one two three four five six seven eight nine")
ANIMALS = _words("dog cat rabbit duck fox pony goat hedgehog squirrel turtle mouse lamb owl donkey")
PET_NAMES = _words("Biscuit Pepper Button Shadow Clover Pickle Daisy Waffle Ginger Marble Cocoa Tulip")
FEELINGS = _words("happy glad proud thankful cheerful calm warm safe")
OPENINGS = _phrases(
    "Once upon a time, there was a / Long ago, there lived a / In a small town, there was a / Near the sea, there lived a / "
    "At the edge of a wood, there lived a / In a yellow house, there was a / There once was a / High in the hills, there lived a"
)
HOBBIES = _phrases(
    "sing songs / paint pictures / climb trees / read books / bake bread / watch the clouds / dance in the kitchen / tell jokes / "
    "count the stars / build towers / plant flowers / swim in the lake / look for shells / write letters / ride a bicycle / feed the birds"
)
MOODS = _phrases(
    "The sun was out and the air was warm. / A cold wind came from the north. / Birds sang in every tree. / It was very quiet there. / "
    "Small white clouds went by. / Leaves lay all over the ground. / Somebody played a song far away. / The bells of the town rang."
)
SPOTS = _phrases(
    "under a bench / behind a rock / next to the gate / in the tall grass / beside the path / on a tree stump / by the old wall / "
    "among the flowers / between two stones / below a window / inside a hollow tree / at the foot of a ladder"
)
TROUBLES = _phrases(
    "was stuck in the mud / had hurt its foot / was lost in the fog / could not find its home / looked very hungry / shook with cold / "
    "had a thorn in its ear / ran from the thunder"
)
RELATIVES = _words("mother father sister brother uncle aunt")
GAMES = _phrases(
    "played cards / told stories / drew pictures / built a tent / made paper boats / sang together / learned a dance / guessed riddles"
)
DRINKS = _words("cocoa milk tea juice lemonade soup")
WISHES = _phrases("dreamed of / wished for / talked about / longed for / thought of / asked for")
JOBS = _phrases(
    "swept the floor / carried water / washed the windows / picked beans / sold bread / painted a fence / fed the hens / cut the grass"
)
MORALS = _phrases(
    "A good friend is worth more than gold. / It feels good to help. / From then on, they met every day. / The end. / "
    "They laughed all the way home. / That night, everybody slept well. / Nobody ever forgot that day. / Good things take time. / "
    "So a bad day became a good one. / Who shares has more. / When they were old, they still talked about it. / And tomorrow is another day."
)


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
    say(" ")
    teller.draw(TRAITS)
    hero_is_girl = teller.branch((" girl", " boy")) == 0
    say(" named ")
    hero = _child(teller, hero_is_girl)
    say(". ", hero.name, " loved to ")
    teller.draw(HOBBIES)
    say(" with ", hero.his)
    friend_is_girl = teller.branch((" friend, a girl named ", " neighbour, a boy named ")) == 0
    friend = _child(teller, friend_is_girl, but=hero.name if friend_is_girl == hero_is_girl else None)
    say(".\n")
    plot = teller.branch(
        ("But one day, ", "At noon, ", "In the evening, ", "Then it rained, and ", "Every night, ")
    )
    (_lost, _shared, _rescued, _rained, _earned)[plot](teller, hero, friend)
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
    look = teller.draw(LOOKS)
    say(" ")
    colour = teller.draw(COLOURS)
    say(" ")
    thing = teller.draw(THINGS)
    say(" to the ")
    place = teller.draw(PLACES)
    say(" and left it ")
    spot = teller.draw(SPOTS)
    say(". ")
    teller.draw(MOODS)
    say(" At home, ", hero.he, " could not find the ", look, " ", thing, ". ")
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
        look,
        " ",
        colour,
        " ",
        thing,
        " and felt ",
    )
    teller.draw(FEELINGS)
    say(".")


def _shared(teller: Teller, hero: Child, friend: Child) -> None:
    """Some fruits are given away; what is left is a subtraction."""
    say = teller.say
    say(hero.name, " sat near the ")
    place = teller.draw(PLACES)
    say(". ")
    teller.draw(MOODS)
    say(" ", hero.name, " had ")
    total = 3 + teller.branch(NUMBERS[3:])
    say(" ")
    fruits = teller.draw(FRUITS)
    say(" in a ")
    colour = teller.draw(COLOURS)
    say(" bag. ", friend.name, " had no ", fruits, ' at all. "Here, take ')
    given = 1 + teller.branch(NUMBERS[1:total])
    say(
        '," said ',
        hero.name,
        ". So ",
        friend.name,
        " had ",
        NUMBERS[given],
        " and ",
        hero.name,
        " had ",
        NUMBERS[total - given],
    )
    say(". They put the ", colour, " bag away and walked from the ", place, " to the ")
    teller.draw(PLACES, but=place)
    say(".")


def _rescued(teller: Teller, hero: Child, friend: Child) -> None:
    """An animal in trouble is helped and gets a name."""
    say = teller.say
    say(hero.name, " and ", friend.name, " saw a ")
    look = teller.draw(LOOKS)
    say(" ")
    animal = teller.draw(ANIMALS)
    say(" near the ")
    place = teller.draw(PLACES)
    say(". It ")
    trouble = teller.draw(TROUBLES)
    say(
        '. "We must help it," said ',
        friend.name,
        ". ",
        hero.name,
        " took the ",
        look,
        " ",
        animal,
        " home and made it a bed ",
    )
    teller.draw(SPOTS)
    say(". They named it ")
    pet = teller.draw(PET_NAMES)
    if teller.branch((" and gave it ", ". Soon ")) == 0:
        teller.draw(FRUITS)
        say(
            ". The ",
            animal,
            " that ",
            trouble,
            " was well again, and ",
            pet,
            " waited for ",
            friend.name,
            " every day.",
        )
    else:
        say(pet, " ran along the ", place, " again, and ", hero.name, " felt ")
        teller.draw(FEELINGS)
        say(".")


def _rained(teller: Teller, hero: Child, friend: Child) -> None:
    """A wet afternoon in one child's house, told by the other one at night."""
    say = teller.say
    say("they ran from the ")
    place = teller.draw(PLACES)
    say(" to the house of ")
    host, guest = hero, friend
    if hero.he != friend.he and teller.branch(("the girl, ", "the boy, ")) != (hero.he == "he"):
        host, guest = friend, hero
    say(host.name, ". There they drank ")
    drink = teller.draw(DRINKS)
    say(" and ")
    game = teller.draw(GAMES)
    say(" until the sun came back. ")
    teller.draw(MOODS)
    say(" In bed, ", guest.name, " told ", guest.his, " ")
    teller.draw(RELATIVES)
    say(
        ': "',
        host.name,
        " and I ",
        game,
        " and drank ",
        drink,
        ". Tomorrow we will go to the ",
        place,
        ' again."',
    )


def _earned(teller: Teller, hero: Child, friend: Child) -> None:
    """A wish is heard, worked for, and comes true; what is missing is a subtraction."""
    say = teller.say
    say(friend.name, " ")
    teller.draw(WISHES)
    say(" a ")
    colour = teller.draw(COLOURS)
    say(" ")
    thing = teller.draw(THINGS)
    say(". It cost ")
    price = 3 + teller.branch(NUMBERS[3:])
    say(" coins, and ", hero.name, " had only ")
    coins = 1 + teller.branch(NUMBERS[1:price])
    say(". So ", hero.he, " went to the ")
    place = teller.draw(PLACES)
    say(" and ")
    job = teller.draw(JOBS)
    say(". ")
    teller.draw(MOODS)
    say(
        " For ",
        NUMBERS[price - coins],
        " more, ",
        hero.he,
        " ",
        job,
        " until night. Then ",
        hero.he,
        " left the ",
        place,
        " and bought the ",
        thing,
        ". ",
    )
    say('"A ', colour, " ", thing, '!" said ', friend.name, " and felt ")
    teller.draw(FEELINGS)
    say(".")
