//! The definitions, spelled out: slow, obvious, and the judges of everything fast.
#![allow(dead_code)] // each test file uses a part

use std::cmp::Reverse;
use std::collections::HashMap;

use lm_bpe::{Pattern, TieBreak};

/// A small generator of random numbers (xorshift), so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Pretokens by the published expression, run by the engine that tiktoken uses. A byte that is not UTF-8 becomes one
/// U+FFFD, which is neither letter, number nor space, and back.
pub fn pretokens<'a>(regex: &fancy_regex::Regex, text: &'a [u8]) -> Vec<&'a [u8]> {
    let mut readable = String::new();
    let mut widths = Vec::new(); // of each character, in bytes of `text`
    for chunk in text.utf8_chunks() {
        readable.push_str(chunk.valid());
        widths.extend(chunk.valid().chars().map(char::len_utf8));
        readable.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        widths.extend(chunk.invalid().iter().map(|_| 1));
    }
    let mut widths = widths.into_iter();
    let mut rest = text;
    let mut pretokens = Vec::new();
    for found in regex.find_iter(&readable) {
        let characters = found.unwrap().as_str().chars().count();
        let width = widths.by_ref().take(characters).sum();
        let (pretoken, after) = rest.split_at(width);
        pretokens.push(pretoken);
        rest = after;
    }
    assert!(rest.is_empty(), "the expression matches everything");
    pretokens
}

pub fn regex(pattern: Pattern) -> fancy_regex::Regex {
    fancy_regex::Regex::new(pattern.regex()).unwrap()
}

/// A merge list as bytes.
pub type Merges = Vec<(Vec<u8>, Vec<u8>)>;

/// BPE training by the definition: count all pairs anew before each merge. Ids are positions in the list of tokens.
pub fn train(words: &[(Vec<u8>, u64)], merges_wanted: usize, tie_break: TieBreak, min_frequency: u64) -> Merges {
    let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    let mut words: Vec<(Vec<usize>, u64)> =
        words.iter().map(|(word, count)| (word.iter().map(|&byte| usize::from(byte)).collect(), *count)).collect();
    let byte_level = |id: usize| match id {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => (0, id),
        0..256 => (1, id),
        _ => (2, id),
    };
    let mut merges = Vec::new();
    while tokens.len() < 256 + merges_wanted {
        let mut counts: HashMap<(usize, usize), u64> = HashMap::new();
        for (word, count) in &words {
            for pair in word.windows(2) {
                *counts.entry((pair[0], pair[1])).or_default() += count;
            }
        }
        let best = counts.into_iter().filter(|&(_, count)| count >= min_frequency.max(1));
        let best = match tie_break {
            TieBreak::HuggingFace => {
                best.max_by_key(|&((a, b), count)| (count, Reverse((byte_level(a), byte_level(b)))))
            }
            TieBreak::Ids => best.max_by_key(|&(pair, count)| (count, Reverse(pair))),
            TieBreak::Greatest => best.max_by_key(|&((a, b), count)| (count, tokens[a].clone(), tokens[b].clone())),
        };
        let Some(((a, b), _)) = best else { break };
        merges.push((tokens[a].clone(), tokens[b].clone()));
        let joined = [tokens[a].clone(), tokens[b].clone()].concat();
        let id = tokens.len();
        tokens.push(joined);
        for (word, _) in &mut words {
            *word = replaced(word, (a, b), id);
        }
    }
    merges
}

fn replaced(word: &[usize], pair: (usize, usize), id: usize) -> Vec<usize> {
    match word {
        [a, b, rest @ ..] if (*a, *b) == pair => [vec![id], replaced(rest, pair, id)].concat(),
        [a, rest @ ..] => [vec![*a], replaced(rest, pair, id)].concat(),
        [] => Vec::new(),
    }
}

/// One pretoken by the definition: the lowest rank merges first, of its places the leftmost.
pub fn encode(merges: &Merges, pretoken: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = pretoken.iter().map(|&byte| vec![byte]).collect();
    loop {
        let rank = |at: usize| merges.iter().position(|(a, b)| *a == parts[at] && *b == parts[at + 1]);
        let Some((_, at)) = (1..parts.len()).filter_map(|at| Some((rank(at - 1)?, at - 1))).min() else {
            return parts;
        };
        let right = parts.remove(at + 1);
        parts[at].extend(right);
    }
}
