//! Where a text may be cut without changing its pretokens: what lets threads and bounded windows share a text.

use super::Pattern;
use super::class::{LETTER, LINE_END, MARK, NUMBER, OTHER, SPACE, kind_at};

/// The most bytes of one UTF-8 character.
const WIDEST: usize = 4;

impl Pattern {
    /// The first safe cut at or after `from`: the pretokens of `text[..cut]` followed by those of `text[cut..]`
    /// are those of `text`. `None` if there is none before the end. O(distance to the cut).
    ///
    /// The answer is the same whatever follows 4 bytes after the cut, so a window of a longer text may be asked.
    pub fn next_cut(self, text: &[u8], from: usize) -> Option<usize> {
        (from.max(1)..(text.len() + 1).saturating_sub(WIDEST)).find(|&at| is_cut(text, at))
    }

    /// The last safe cut at or before `from`; `None` if there is none after the start. O(distance to the cut).
    pub fn previous_cut(self, text: &[u8], from: usize) -> Option<usize> {
        let last = from.min(text.len().checked_sub(WIDEST)?);
        (1..=last).rev().find(|&at| is_cut(text, at))
    }
}

/// Whether every pattern ends a pretoken between the characters before and after `at`, without looking further.
///
/// No pattern joins a number to a letter or to white space, a letter to a number or to white space, or other
/// characters to white space that is no line end. A letter and a following symbol are joined by no pattern either,
/// but for the apostrophe of a contraction and for marks.
/// The only look-ahead, `\s+(?!\S)`, and the only anchor, `\s++$`, are about white space before the cut: there is none.
fn is_cut(text: &[u8], at: usize) -> bool {
    let (after, _) = kind_at(text, at);
    if text[at] & 0xc0 == 0x80 {
        return false; // perhaps the middle of a character
    }
    let before = kind_before(text, at);
    if before & LETTER != 0 {
        after & (NUMBER | SPACE) != 0 || (after & OTHER != 0 && text[at] != b'\'')
    } else if before & NUMBER != 0 {
        after & (LETTER | SPACE) != 0
    } else {
        before & SPACE == 0 && after & SPACE != 0 && after & LINE_END == 0 && before & (MARK | OTHER) != 0
    }
}

/// The kind of the character that ends at `at > 0`.
fn kind_before(text: &[u8], at: usize) -> u8 {
    let first = at.saturating_sub(WIDEST);
    let whole = (first..at - 1).find_map(|start| {
        let (kind, width) = kind_at(text, start);
        (width > 1 && start + width == at).then_some(kind)
    });
    whole.unwrap_or_else(|| kind_at(&text[..at], at - 1).0)
}
