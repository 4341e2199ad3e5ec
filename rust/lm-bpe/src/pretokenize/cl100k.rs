//! The patterns of cl100k, Llama 3 and Qwen 2.
//!
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
//! Qwen 2 has `\p{N}`. tiktoken's cl100k has `\s++$` before `\s*[\r\n]`: white space that ends the text is one
//! pretoken even if it holds a line end.

use super::class::{LETTER, LINE_END, MARK, NUMBER, OTHER, SPACE, kind_at, run, short_run};

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
