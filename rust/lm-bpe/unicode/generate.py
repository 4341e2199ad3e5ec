"""Writes src/pretokenize/unicode_runs.rs: the class of every code point, as the regex engine of tiktoken has it.

Run from this folder with tiktoken installed:  python generate.py
tiktoken and Hugging Face's tokenizers agree on all code points (Unicode 16.0 at tiktoken 0.14, tokenizers 0.23);
ids must equal theirs, so their engine is the source, not a Unicode data file of another version.
"""

from pathlib import Path

import tiktoken

UNICODE = "16.0"
# In the order of `enum Class` in ../src/pretokenize/class.rs; what matches none is class 0, Other.
CLASSES = [r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"[\p{Lm}\p{Lo}]", r"\p{M}", r"\p{N}", r"\s"]
TARGET = Path(__file__).parent.parent / "src" / "pretokenize" / "unicode_runs.rs"


def members(pattern: str) -> set[int]:
    """The code points that match `pattern` alone."""
    bytes_only = {bytes([byte]): byte for byte in range(256)}
    engine = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=bytes_only, special_tokens={})
    surrogates = range(0xD800, 0xE000)
    return {code for code in range(0x110000) if code not in surrogates and engine.encode_ordinary(chr(code))}


def main() -> None:
    classes = [0] * 0x110000
    for index, pattern in enumerate(CLASSES, start=1):
        for code in members(pattern):
            assert classes[code] == 0, f"U+{code:04X} has two classes"
            classes[code] = index
    starts = [code for code in range(0x110000) if code == 0 or classes[code] != classes[code - 1]]
    numbers = [f"0x{code << 3 | classes[code]:x}" for code in starts]
    lines = [
        f"//! The class of every code point by Unicode {UNICODE}. Written by unicode/generate.py; do not edit.",
        "",
        "/// Where a run of one class starts, ascending: `first code point << 3 | class`.",
        "#[rustfmt::skip]",
        f"pub(super) const RUNS: [u32; {len(numbers)}] = [",
        *(f"    {', '.join(numbers[at : at + 12])}," for at in range(0, len(numbers), 12)),
        "];",
    ]
    TARGET.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
