//! The pattern of o200k: words are cut where a capital follows a small letter, and keep their contraction.
//!
//! With `U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, `L = [\p{Ll}\p{Lm}\p{Lo}\p{M}]`, `C = (?i:'s|'t|'re|'ve|'m|'ll|'d)`:
//! `[^\r\n\p{L}\p{N}]?U*L+C?|[^\r\n\p{L}\p{N}]?U+L*C?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`

use super::cl100k::{contraction, white_space};
use super::class::{CASELESS, LETTER, LINE_END, LOWER, MARK, NUMBER, OTHER, SPACE, UPPER, kind_at, run, short_run};

const CAPITALS: u8 = UPPER | CASELESS | MARK; // U
const SMALLS: u8 = LOWER | CASELESS | MARK; // L

/// Where the pretoken that starts at `start` ends.
#[inline(always)]
pub(super) fn end(text: &[u8], start: usize) -> usize {
    let (kind, width) = kind_at(text, start);
    let at = start + width;
    if kind & NUMBER != 0 {
        return short_run(text, at, NUMBER, 2);
    }
    let letters = if kind & (LETTER | LINE_END) == 0 { at } else { start };
    if let Some(end) = word(text, letters) {
        return with_contraction(text, end);
    }
    if kind & MARK != 0 {
        // As the optional first character it leaves no L behind it, so it is the L itself.
        return with_contraction(text, at);
    }
    let capitals = run(text, letters, UPPER);
    if capitals > letters {
        return with_contraction(text, capitals);
    }
    if kind & SPACE == 0 || (text[start] == b' ' && kind_at(text, at).0 & (MARK | OTHER) != 0) {
        return punctuation(text, at);
    }
    white_space::<false>(text, start)
}

/// `U*L+` at `at`. Where no small letter follows the run of U, the expression gives characters back until one is
/// both U and L: the match ends after the run's last caseless letter or mark.
fn word(text: &[u8], mut at: usize) -> Option<usize> {
    let mut after_both = None;
    loop {
        let (kind, width) = kind_at(text, at);
        if kind & LOWER != 0 {
            return Some(run(text, at + width, SMALLS));
        }
        if kind & CAPITALS == 0 {
            return after_both;
        }
        at += width;
        if kind & (CASELESS | MARK) != 0 {
            after_both = Some(at);
        }
    }
}

fn with_contraction(text: &[u8], end: usize) -> usize {
    match text.get(end) {
        Some(b'\'') => contraction(text, end).unwrap_or(end),
        _ => end,
    }
}

/// The rest of `[^\s\p{L}\p{N}]+[\r\n/]*`.
fn punctuation(text: &[u8], at: usize) -> usize {
    let mut at = run(text, at, MARK | OTHER);
    while matches!(text.get(at), Some(b'\r' | b'\n' | b'/')) {
        at += 1;
    }
    at
}
