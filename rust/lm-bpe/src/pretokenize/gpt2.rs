//! GPT-2's pattern, and the same after each digit is cut off alone.
//!
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
//! The alternatives are tried in this order at each place; white space gives its last character to what follows.

use super::blocks::{Around, Masks};
use super::class::{LETTER, MARK, NUMBER, OTHER, SPACE, kind_at, run};
use super::ends::{Starts, cut_contractions};

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

/// The starts of a block of ASCII: where the class changes, but for a space that goes with what follows it; white
/// space where its run begins, and again at the run's last character.
#[inline(always)]
pub(super) fn starts(text: &[u8], base: usize, around: &Around) -> Starts {
    let Around { here, .. } = around;
    let white = here.white();
    let same = here.letter & around.is_before(1, |masks| masks.letter)
        | here.number & around.is_before(1, |masks| masks.number)
        | here.other & around.is_before(1, |masks| masks.other);
    let with_space = around.is_before(1, |masks| masks.space);
    let goes_on = around.is_before(1, Masks::white) & around.is_after(Masks::white);
    let starts = (!white & !same & !with_space) | (white & !goes_on);
    let mut found = Starts { starts, undecided: around.undecided(), carried: 0, cleared: 0 };
    let apostrophes = here.apostrophe & starts & !around.is_before(1, |masks| masks.beyond);
    cut_contractions(&mut found, apostrophes, |place| Some(contraction(text, base + place)? - base - place));
    found
}
