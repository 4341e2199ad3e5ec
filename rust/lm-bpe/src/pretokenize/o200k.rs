//! The pattern of o200k: words are cut where a capital follows a small letter, and keep their contraction.
//!
//! With `U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, `L = [\p{Ll}\p{Lm}\p{Lo}\p{M}]`, `C = (?i:'s|'t|'re|'ve|'m|'ll|'d)`:
//! `[^\r\n\p{L}\p{N}]?U*L+C?|[^\r\n\p{L}\p{N}]?U+L*C?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`

use super::blocks::{Around, BLOCK};
use super::cl100k::{but_contractions, contraction, white_space};
use super::class::{CASELESS, LETTER, LINE_END, LOWER, MARK, NUMBER, OTHER, SPACE, UPPER, kind_at, run, short_run};
use super::ends::{Starts, cut_contractions};

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

/// The starts of a block of ASCII: those of cl100k but for what is said of contractions, of capitals, and of a `/`
/// behind a line end, which may go with punctuation before both.
#[inline(always)]
pub(super) fn starts(text: &[u8], base: usize, around: &Around) -> Starts {
    let here = &around.here;
    let mut found = but_contractions::<3>(around);
    found.starts |= here.upper & around.is_before(1, |masks| masks.letter & !masks.upper);

    let mut line_ends = here.line_end;
    while line_ends != 0 {
        let behind = line_ends.trailing_zeros() as usize + 1;
        line_ends &= line_ends - 1;
        if behind < BLOCK && text[base + behind] == b'/' {
            found.undecided |= !0 << behind;
            break;
        }
    }
    if goes_on_behind_a_line_end(text, base, around.before.other) {
        found.undecided = !0;
    }

    // An apostrophe behind a letter begins a contraction of its word, unless that has one already, which ends there.
    // Whether it has one is not known behind other characters, and behind the block before.
    let beyond = around.is_before(1, |masks| masks.beyond);
    let mut left = here.apostrophe & (beyond | around.is_before(1, |masks| masks.letter));
    let (mut contractions, mut last, mut perhaps) = (0, None, None); // where the contraction before ends
    while left != 0 {
        let place = left.trailing_zeros() as usize;
        left &= left - 1;
        let end = contraction(text, base + place).map(|end| end - base);
        if beyond >> place & 1 != 0 || perhaps == Some(place) || (place < 3 && follows_closely(text, base + place)) {
            found.undecided |= 0b1111 << place;
            perhaps = end;
        } else if last != Some(place) && end.is_some() {
            contractions |= 1 << place;
            last = end;
        }
    }
    let near = base.saturating_sub(3)..base;
    if around.before.apostrophe >> (BLOCK - 3) != 0
        && near.into_iter().any(|at| text[at] == b'\'' && follows_closely(text, at))
    {
        found.undecided |= 0b1111;
    }
    found.starts &= !contractions;
    cut_contractions(&mut found, contractions, |place| Some(contraction(text, base + place)? - base - place));
    found
}

/// Whether a contraction may end at `at`.
fn follows_closely(text: &[u8], at: usize) -> bool {
    text[at.saturating_sub(3)..at].iter().any(|byte| *byte == b'\'' || !byte.is_ascii())
}

/// Whether a run of symbols that begins with a `/` behind a line end may reach up to `base` or across it; `symbols` are
/// those of the block before.
#[inline(always)]
fn goes_on_behind_a_line_end(text: &[u8], base: usize, symbols: u64) -> bool {
    let run = symbols.leading_ones() as usize;
    let first = base - run;
    run == BLOCK || (text[first] == b'/' && first > 0 && matches!(text[first - 1], b'\r' | b'\n'))
}
