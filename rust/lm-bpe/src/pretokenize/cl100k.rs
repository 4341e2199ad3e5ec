//! The patterns of cl100k, Llama 3 and Qwen 2.
//!
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
//! Qwen 2 has `\p{N}`. tiktoken's cl100k has `\s++$` before `\s*[\r\n]`: white space that ends the text is one
//! pretoken even if it holds a line end.

use super::blocks::{Around, Masks};
use super::class::{LETTER, LINE_END, MARK, NUMBER, OTHER, SPACE, kind_at, run, short_run};
use super::ends::{Starts, cut_contractions};

/// Where the pretoken that starts at `start` ends. `DIGITS`: the most digits in one; `TAIL`: with `\s++$`.
#[inline(always)]
pub(super) fn end<const DIGITS: usize, const TAIL: bool>(text: &[u8], start: usize) -> usize {
    let (kind, width) = kind_at(text, start);
    let at = start + width;
    if kind & LETTER != 0 {
        return run(text, at, LETTER);
    }
    if kind & NUMBER != 0 {
        return short_run(text, at, NUMBER, DIGITS - 1);
    }
    if text[start] == b'\''
        && let Some(end) = contraction(text, start)
    {
        return end;
    }
    let (next, next_width) = kind_at(text, at);
    if next & LETTER != 0 && kind & LINE_END == 0 {
        return run(text, at + next_width, LETTER);
    }
    if kind & SPACE == 0 || (text[start] == b' ' && next & (MARK | OTHER) != 0) {
        return run(text, run(text, at, MARK | OTHER), LINE_END);
    }
    white_space::<TAIL>(text, start)
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at an apostrophe. U+017F, the long s, is an s when case is ignored.
pub(super) fn contraction(text: &[u8], start: usize) -> Option<usize> {
    match text[start + 1..] {
        [b's' | b'S' | b't' | b'T' | b'm' | b'M' | b'd' | b'D', ..] => Some(start + 2),
        [b'r' | b'R' | b'v' | b'V', b'e' | b'E', ..] | [b'l' | b'L', b'l' | b'L', ..] | [0xc5, 0xbf, ..] => {
            Some(start + 3)
        }
        _ => None,
    }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`, before them `\s++$` if `TAIL`: up to the last line end of the run if it has one,
/// else the whole run at the end of the text, else all but its last character, else that one.
pub(super) fn white_space<const TAIL: bool>(text: &[u8], start: usize) -> usize {
    let (mut line_end, mut last, mut at) = (start, start, start);
    loop {
        let (kind, width) = kind_at(text, at);
        if kind & SPACE == 0 {
            let at_the_end = width == 0;
            return if line_end > start && !(TAIL && at_the_end) {
                line_end
            } else if at_the_end || last == start {
                at
            } else {
                last
            };
        }
        (last, at) = (at, at + width);
        if kind & LINE_END != 0 {
            line_end = at;
        }
    }
}

/// The starts of a block of ASCII. What depends on more than the block and a few bytes around it (runs that reach
/// across its ends, lines of white space only) is left undecided.
#[inline(always)]
pub(super) fn starts<const DIGITS: usize>(text: &[u8], base: usize, around: &Around) -> Starts {
    let mut found = but_contractions::<DIGITS>(around);
    let apostrophes = around.here.apostrophe & found.starts & !around.is_before(1, |masks| masks.beyond);
    cut_contractions(&mut found, apostrophes, |place| Some(contraction(text, base + place)? - base - place));
    found
}

/// The same where no apostrophe begins a contraction.
#[inline(always)]
pub(super) fn but_contractions<const DIGITS: usize>(around: &Around) -> Starts {
    let Around { here, before, after } = around;
    let mut undecided = around.undecided();

    // Numbers: the first of each group of `DIGITS`.
    let number = here.number;
    let number_before = around.is_before(1, |masks| masks.number);
    let mut numbers = number;
    if DIGITS > 1 {
        let inside = number & number_before;
        let mut group = number & !number_before;
        numbers = group;
        while group != 0 {
            group = group << 3 & inside & inside << 1 & inside << 2;
            numbers |= group;
        }
        undecided |= runs_from(number, around.is_before(1, |masks| masks.beyond) | before.number >> 63);
    }

    // Other characters: the first of a run, unless a space goes with it.
    let other = here.other;
    let lone_other = |masks: &Masks| masks.other & !(masks.other << 1) & !(masks.space << 1);
    let others = other & !around.is_before(1, |masks| masks.other) & !around.is_before(1, |masks| masks.space);

    // Letters: the first of a run, unless one character before it goes with it.
    let letter_before = around.is_before(1, |masks| masks.letter);
    let led = around.is_before(1, |masks| masks.white() & !masks.line_end) | others << 1 | lone_other(before) >> 63;
    let letters = here.letter & !letter_before & !led;

    // White space: line ends behind other characters go with those; then, if a line end comes later in the run, all
    // up to the last one; of what is left the last character stands apart.
    let white = here.white();
    let blank = white & !here.line_end;
    let taken = runs_from(here.line_end, around.is_before(1, |masks| masks.other));
    let first = white & !around.is_before(1, Masks::white) & !taken | white & taken << 1 & !taken;
    let mut tail = blank & around.is_before(1, |masks| masks.line_end);
    let last = blank & !around.is_after(Masks::white);
    // Whether the beginning of a run was taken is not known if it lies in the block before or beyond ASCII.
    undecided |= runs_from(white, around.is_before(1, |masks| masks.beyond) | before.white() >> 63);
    let mut open = tail;
    while open != 0 {
        let start = open.trailing_zeros();
        open &= open - 1;
        let length = (!(blank >> start)).trailing_zeros().min(64 - start);
        let run = (u64::MAX >> (64 - length)) << start;
        let end = start + length;
        if end == 64 {
            undecided |= run & if (after.white() | after.beyond) & 1 != 0 { u64::MAX } else { 0 };
        } else if here.line_end >> end & 1 != 0 {
            tail &= !(1 << start);
        } else if here.beyond >> end & 1 != 0 {
            undecided |= run;
        }
    }
    let starts = numbers | others | letters | first | tail | last;
    Starts { starts, undecided, carried: 0, cleared: 0 }
}

/// Those runs of ones in `mask` whose lowest bit is one of `starts`.
fn runs_from(mask: u64, starts: u64) -> u64 {
    mask & !mask.wrapping_add(mask & !(mask << 1) & starts)
}
