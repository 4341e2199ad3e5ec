"""Texts that the tests share: written for this purpose, or generated from a seed."""

import random
import sys
import unicodedata
from functools import cache

PROSE = """\
The lighthouse keeper's daughter wasn't afraid of storms; she'd counted 1,024 of them by the time she was twelve.
"They're louder than they are strong," she'd say, and we'd nod, though we'll never know what she'd have done
in '87, when the sea took the lower stairs. It's said that I'M THE ONE who'LL mend them -- perhaps. Who's to say?

Each morning she wrote three numbers in the log: wind 17 knots, 3.5 m of swell, 998 hPa. At 6:45 the lamp went out.
\tA tab begins this line,   and three spaces stand in it. A line may end in spaces.\x20\x20
"""

CODE = """\
def merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    \"\"\"Replaces every pair; O(len(ids)).\"\"\"
    out, i = [], 0
    while i < len(ids):
        if ids[i:i + 2] == list(pair):  # found
            out.append(new_id); i += 2
        else:
            out.append(ids[i]); i += 1
    return out


x_1 = {"a": 0x7F, 'b': [1.5e-3, 10**100], **{}}
print(f"{x_1!r:>20}" if x_1 else None, end="\\r\\n")
#include <stdio.h>
int main(void) { for (int i = 0; i < 10; ++i) printf("%d\\n", i); return 0; }
"""

SCRIPTS = """\
Größe, naïve, façade, Ørsted, Łódź, İstanbul, ſchön, ﬁne, e\u0301 = é, A\u030a = Å.
Мы не знаем, сколько их было: 1234567 или больше? Ёлка, подъезд.
Ποῦ εἶναι τὸ φῶς; Τὸ φῶς εἶναι ἐδῶ.
日本語の文章です。カタカナ、ひらがな、漢字が混ざっています。全角　空白もあります。
这是一句中文,没有空格。一二三四五六七八九十。
한국어 문장입니다. 한글은 자모로 나뉩니다: ㅎㅏㄴ 각.
هذا نصٌّ بالعربية، وفيه تشكيلٌ: ١٢٣٤.
यह हिन्दी का वाक्य है। क्षत्रिय, ज्ञान, १२३.
ภาษาไทยไม่มีช่องว่างระหว่างคำ ๑๒๓
שלום עולם, זה משפט בעברית עם נִיקוּד.
👩‍👩‍👧‍👦 👍🏽 🇺🇳 ❤️ 🏴󠁧󠁢󠁳󠁣󠁴󠁿 ✨… — „quotes“ «more» ½ ² ③ Ⅳ ㎡ №
"""

ALL_KINDS = "\n\n".join([PROSE, CODE, SCRIPTS])

TRICKY = [
    "",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\n\n",
    " \n",
    "\n ",
    "\n  ",
    "  \n  ",
    "a ",
    "a  ",
    "a  b",
    "a\n\nb",
    "a\n\n b",
    "a \n b",
    "a\u00a0b",
    "\u3000x",
    "\u2028\u2029\u0085\x1c\x1f\x0b\x0c",
    "'s 's's 'S 'LL 'll' 'ſ 'Ve're 'd'm't",
    "don't DON'T don’t I'M I'm '' ''s '",
    "1234567890 12 1 1234 ¼½ ²³ ①② 千",
    "x1y2 z3 3z",
    "a_b-c/d//e\\f",
    "...!!! ?? \n// /\n/",
    "<|endoftext|><|endoftext",
    "\x00\x00\x01\x7f\x80\x9f",
    "\ufeffbom \u200b\u200c\u200d\u2060",
    "e\u0301e\u0301 \u0301 \u0301\u0301a",
    "\u1100\u1161\u11a8 \uac01",
    "ǅ ǈ ʰ ª º ᴬ 𝐀𝐚 𝟘𝟙 𐐀𐐨",
    "\ud7a3\ue000\uf8ff\ufffd\uffff\U0010ffff\U000e0001",
    "ABCdef aBcD iPhone HTTPServer XMLHttpRequest2 ÀÉîõ ǄǅǆxX",
    "\t\tif x:\n\t\t\treturn\n\n\n\n",
    " \t \t\n\t ",
]

WORST = {
    "one letter": "a",
    "spaces": " ",
    "newlines": "\n",
    "carets": "^",
    "zero bytes": "\x00",
    "digits": "7",
    "apostrophes": "'",
    "ideographs": "中",
    "marks": "\u0301",
}


@cache
def by_category() -> dict[str, list[str]]:
    """Every code point that is text, by its general category."""
    categories: dict[str, list[str]] = {}
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        if category != "Cs":
            categories.setdefault(category, []).append(chr(code))
    return categories


def random_text(seed: int, length: int = 200) -> str:
    """Characters of every general category alike, in runs, among contractions and white space."""
    rng = random.Random(seed)
    categories = by_category()
    names = sorted(categories)
    common = [
        " ",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "'s",
        "'LL",
        "'",
        "1",
        "12345",
        "a",
        "Ab",
        "the",
        "/",
        "...",
    ]
    text: list[str] = []
    while len(text) < length:
        if rng.random() < 0.4:
            text.append(rng.choice(common))
        else:
            characters = categories[rng.choice(names)]
            text.extend(rng.choice(characters) for _ in range(rng.randint(1, 3)))
    return "".join(text)


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Many of them."""
    return [random_text(seed * 1_000_003 + index) for index in range(count)]
