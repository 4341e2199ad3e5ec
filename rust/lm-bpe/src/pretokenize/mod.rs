//! Text to pretokens: slices that, joined, give the text back and that no token ever crosses.
//!
//! Each pattern is published as a regular expression; here each is a scanner written by hand, exact on all of
//! Unicode. Bytes that are not part of a valid UTF-8 character each act as one character that is neither letter,
//! number nor space (as `surrogateescape` has it in Python), so every byte string can be cut.

mod blocks;
mod cl100k;
mod class;
mod cut;
mod ends;
mod gpt2;
mod o200k;
mod simd;
mod unicode_runs;

use crate::Error;

pub(crate) use ends::Ends;

/// A published pre-tokenization pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// GPT-2, GPT-3 and most byte-level models since.
    Gpt2,
    /// GPT-2's, after each digit is cut off alone (SmolLM, StarCoder: `Digits` then `ByteLevel`).
    Gpt2Digits,
    /// GPT-3.5 and GPT-4, as tiktoken spells it.
    Cl100k,
    /// GPT-4o, as tiktoken spells it.
    O200k,
    /// Llama 3: cl100k's older spelling (a trailing run of white space is cut after its last line end).
    Llama3,
    /// Qwen 2, 2.5 and 3: Llama 3's with single digits.
    Qwen2,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const GPT2_DIGITS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+";
const CL100K: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Other published spellings that cut every text alike.
const SPELLINGS: [(&str, Pattern); 3] = [
    (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s", Pattern::Gpt2),
    (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", Pattern::Gpt2),
    (r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", Pattern::Gpt2),
];

impl Pattern {
    /// Every pattern, in the order of their names' list.
    pub const ALL: [Self; 6] = [Self::Gpt2, Self::Gpt2Digits, Self::Cl100k, Self::O200k, Self::Llama3, Self::Qwen2];

    /// The short name: `gpt2`, `gpt2-digits`, `cl100k`, `o200k`, `llama3`, `qwen2`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::Gpt2Digits => "gpt2-digits",
            Self::Cl100k => "cl100k",
            Self::O200k => "o200k",
            Self::Llama3 => "llama3",
            Self::Qwen2 => "qwen2",
        }
    }

    /// The names of all patterns, joined by `, `.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The pattern of that name.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|pattern| pattern.name() == name)
            .ok_or_else(|| Error::UnknownPattern { name: name.to_string() })
    }

    /// The regular expression that defines the pattern, as its makers published it
    /// (`gpt2-digits` has two steps there; this one expression is equal to them).
    pub fn regex(self) -> &'static str {
        match self {
            Self::Gpt2 => GPT2,
            Self::Gpt2Digits => GPT2_DIGITS,
            Self::Cl100k => CL100K,
            Self::O200k => O200K,
            Self::Llama3 => LLAMA3,
            Self::Qwen2 => QWEN2,
        }
    }

    /// The pattern that a regular expression found in a tokenizer file stands for; `None` if it is none of ours.
    pub fn from_regex(regex: &str) -> Option<Self> {
        let published = Self::ALL.into_iter().map(|pattern| (pattern.regex(), pattern));
        published.chain(SPELLINGS).find(|&(spelling, _)| spelling == regex).map(|(_, pattern)| pattern)
    }

    /// Cuts `text` into pretokens. O(text.len()) in all, no memory.
    ///
    /// ```
    /// let pretokens: Vec<&[u8]> = lm_bpe::Pattern::Gpt2.pretokens(b"It's  fine.").collect();
    /// assert_eq!(pretokens, [&b"It"[..], b"'s", b" ", b" fine", b"."]);
    /// ```
    pub fn pretokens(self, text: &[u8]) -> Pretokens<'_> {
        Pretokens { pattern: self, rest: text }
    }

    /// Where the pretoken that starts at `start < text.len()` ends.
    #[inline(always)]
    fn end(self, text: &[u8], start: usize) -> usize {
        match self {
            Self::Gpt2 => gpt2::end::<false>(text, start),
            Self::Gpt2Digits => gpt2::end::<true>(text, start),
            Self::Cl100k => cl100k::end::<3, true>(text, start),
            Self::O200k => o200k::end(text, start),
            Self::Llama3 => cl100k::end::<3, false>(text, start),
            Self::Qwen2 => cl100k::end::<1, false>(text, start),
        }
    }
}

/// The pretokens of a text, in order. Made by [`Pattern::pretokens`].
#[derive(Debug, Clone)]
pub struct Pretokens<'a> {
    pattern: Pattern,
    rest: &'a [u8],
}

impl<'a> Iterator for Pretokens<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (pretoken, rest) = self.rest.split_at(self.pattern.end(self.rest, 0));
        self.rest = rest;
        Some(pretoken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces whose every order is tried: each class, contractions, runs across the ends of blocks.
    const PIECES: [&str; 52] = [
        "a",
        "Z",
        "word",
        "1",
        "12345678",
        " ",
        "  ",
        "     ",
        "\n",
        "\r\n",
        "\n\n",
        "\t",
        "\u{b}",
        ".",
        "!?",
        "'",
        "''",
        "'s",
        "'S",
        "'re",
        "'LL",
        "'ve",
        "'l",
        "'x",
        "\u{17f}",
        "'\u{17f}",
        "é",
        "\u{a0}",
        "\u{2028}",
        "\u{3000}",
        "“",
        "日本",
        "\u{301}",
        "٣",
        "\u{1f600}",
        "\0",
        "\x7f",
        "/",
        "a b",
        "don't ",
        "camelCase",
        "HTTPServer",
        "it's'Ve",
        "I'LL",
        ";\n/",
        "//",
        "\n/.",
        "/*",
        ") {\n",
        "    ",
        "                                        ",
        "wordwordwordwordwordwordwordword",
    ];

    #[test]
    fn lines_of_white_space_end_alike_wherever_a_block_ends() {
        let mut ends = Ends::default();
        for spaces in ["\r\n  \u{a0}\n", " \n \u{3000} \r", "\n\t\u{a0}x", ";\n/ \u{2028}\n/"] {
            for before in 0..140 {
                let text = format!("{}{spaces}{}", "a".repeat(before), "b".repeat(140));
                for pattern in Pattern::ALL {
                    let lengths = pattern.pretokens(text.as_bytes()).map(<[u8]>::len);
                    let wanted: Vec<usize> = lengths.scan(0, |at, length| Some((*at += length, *at).1)).collect();
                    pattern.ends(text.as_bytes(), 0, text.len(), &mut ends);
                    assert_eq!(*ends, wanted, "{pattern:?} {before} {spaces:?}");
                }
            }
        }
    }

    #[test]
    fn blocks_find_the_ends_that_the_scanners_find() {
        let mut state = 7u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut ends = Ends::default();
        for round in 0..20_000 {
            let mut text = Vec::new();
            let ascii = random(2) == 0;
            for _ in 0..random(120) {
                let piece = PIECES[random(PIECES.len())];
                if !ascii || piece.is_ascii() {
                    text.extend_from_slice(piece.as_bytes());
                }
                if random(200) == 0 {
                    text.push(random(256) as u8);
                }
            }
            for pattern in Pattern::ALL {
                let mut at = 0;
                let wanted: Vec<usize> = pattern
                    .pretokens(&text)
                    .map(|pretoken| {
                        at += pretoken.len();
                        at
                    })
                    .collect();
                let mut found = Vec::new();
                while found.last().copied().unwrap_or(0) < text.len() {
                    pattern.ends(&text, found.last().copied().unwrap_or(0), 1 + random(50), &mut ends);
                    found.extend_from_slice(&ends);
                }
                assert_eq!(found, wanted, "{pattern:?} {round} {:?}", String::from_utf8_lossy(&text));
                if round % 10 == 0 {
                    // What every processor computes alike, whatever vectors this one has.
                    pattern.ends_by(&text, 0, text.len(), &mut ends, simd::portable, ends::places);
                    assert_eq!(*ends, wanted, "{pattern:?} {round} {:?}", String::from_utf8_lossy(&text));
                }
            }
        }
    }
}
