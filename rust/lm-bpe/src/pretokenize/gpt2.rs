//! GPT-2's pattern, and the same after each digit is cut off alone.
//!
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
//! The alternatives are tried in this order at each place; white space gives its last character to what follows.

use super::class::{LETTER, MARK, NUMBER, OTHER, SPACE, kind_at, run};

/// Where the pretoken that starts at `start` ends. `DIGITS`: numbers stand alone, and take no space with them.
#[inline(always)]
pub(super) fn end<const DIGITS: bool>(text: &[u8], start: usize) -> usize {
    let (mut kind, mut width) = kind_at(text, start);
    let mut at = start + width;
    if text[start] == b' ' {
        (kind, width) = kind_at(text, at);
        at += width;
        if kind & SPACE != 0 || at == start + 1 || (DIGITS && kind & NUMBER != 0) {
            return white_space::<DIGITS>(text, start);
        }
    } else if text[start] == b'\'' {
        if let Some(end) = contraction(text, start) {
            return end;
        }
    } else if kind & SPACE != 0 {
        return white_space::<DIGITS>(text, start);
    }
    if kind & LETTER != 0 {
        run(text, at, LETTER)
    } else if kind & NUMBER != 0 {
        if DIGITS { at } else { run(text, at, NUMBER) }
    } else {
        run(text, at, MARK | OTHER)
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, lower case only.
fn contraction(text: &[u8], start: usize) -> Option<usize> {
    match text[start + 1..] {
        [b's' | b't' | b'm' | b'd', ..] => Some(start + 2),
        [b'r' | b'v', b'e', ..] | [b'l', b'l', ..] => Some(start + 3),
        _ => None,
    }
}

/// `\s+(?!\S)|\s+`, before them `\s+(?=\p{N})` if `DIGITS`: the whole run at the end of the text, else all but
/// its last character, else that one.
fn white_space<const DIGITS: bool>(text: &[u8], start: usize) -> usize {
    let (mut last, mut at) = (start, start);
    loop {
        let (kind, width) = kind_at(text, at);
        if kind & SPACE == 0 {
            let whole = width == 0 || last == start || (DIGITS && kind & NUMBER != 0);
            return if whole { at } else { last };
        }
        (last, at) = (at, at + width);
    }
}
