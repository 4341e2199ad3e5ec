//! The ends of many pretokens at once: ASCII text by blocks of 64 bytes, all else by the pattern's own scanner.
//!
//! In ASCII text a place begins a pretoken or not by the few bytes around it, so a pattern can say it for a block at
//! once (`starts`). Where other characters are near, and at the end of the text, the scanner that looks at one
//! character after the other (`end`, the ground truth) finds the end of one pretoken, and blocks go on from there.

use super::blocks::{Around, BLOCK, Masks};
use super::{Pattern, cl100k, gpt2, o200k};

/// The places of a block where pretokens begin, and those where the block does not tell.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Starts {
    pub(super) starts: u64,
    pub(super) undecided: u64,
    /// A contraction in this block may say of the next block's first places that they begin a pretoken,
    pub(super) carried: u64,
    /// or that they begin none.
    pub(super) cleared: u64,
}

impl Pattern {
    /// Replaces the contents of `ends` by the ends of the pretokens that begin at `from`, in order, until there are
    /// `wanted` or the text ends; a few more than `wanted` if they are at hand. They are those of
    /// [`Pattern::pretokens`]. O(bytes).
    pub(crate) fn ends(self, text: &[u8], from: usize, wanted: usize, ends: &mut Vec<usize>) {
        ends.clear();
        match self {
            Self::Gpt2 => by_blocks(text, from, wanted, ends, gpt2::starts, gpt2::end::<false>),
            Self::Cl100k => by_blocks(text, from, wanted, ends, cl100k::starts::<3>, cl100k::end::<3, true>),
            Self::Llama3 => by_blocks(text, from, wanted, ends, cl100k::starts::<3>, cl100k::end::<3, false>),
            Self::Qwen2 => by_blocks(text, from, wanted, ends, cl100k::starts::<1>, cl100k::end::<1, false>),
            Self::O200k => by_blocks(text, from, wanted, ends, o200k::starts, o200k::end),
            Self::Gpt2Digits => one_by_one(text, from, wanted, ends, |text, at| self.end(text, at)),
        }
    }
}

/// The pretokens up to `wanted` or the end of the text.
fn one_by_one(text: &[u8], mut at: usize, wanted: usize, ends: &mut Vec<usize>, end: impl Fn(&[u8], usize) -> usize) {
    while at < text.len() && ends.len() < wanted {
        at = end(text, at);
        ends.push(at);
    }
}

#[inline(always)]
fn by_blocks(
    text: &[u8],
    mut at: usize,
    wanted: usize,
    ends: &mut Vec<usize>,
    starts: impl Fn(&[u8], usize, &Around) -> Starts,
    end: impl Fn(&[u8], usize) -> usize,
) {
    ends.reserve(wanted + BLOCK);
    // A block is worked on if the next one lies whole in the text, too.
    let in_text = |base: usize| base + 2 * BLOCK <= text.len();
    while ends.len() < wanted && in_text(at / BLOCK * BLOCK) {
        let mut base = at / BLOCK * BLOCK;
        let before = base.checked_sub(BLOCK).map_or_else(Masks::default, |start| Masks::of(text, start));
        let mut around = Around { before, here: Masks::of(text, base), after: Masks::of(text, base + BLOCK) };
        let (mut carried, mut cleared) = (0, 0);
        loop {
            let found = starts(text, base, &around);
            let (mut starts, mut undecided) = (found.starts & !cleared | carried, found.undecided);
            (carried, cleared) = (found.carried, found.cleared);
            if base <= at {
                starts &= !1 << (at - base);
                undecided &= !0 << (at - base);
            }
            loop {
                // Up to the first undecided place, each start is the end of the pretoken before it.
                let mut decided = starts & below_lowest(undecided);
                while decided != 0 {
                    at = base + decided.trailing_zeros() as usize;
                    ends.push(at);
                    decided &= decided - 1;
                }
                if undecided == 0 {
                    break;
                }
                at = end(text, at);
                ends.push(at);
                if at >= base + BLOCK {
                    break;
                }
                starts &= !1 << (at - base);
                undecided &= !0 << (at - base);
            }
            base += BLOCK;
            if !in_text(base) {
                return one_by_one(text, at, wanted, ends, end);
            }
            if ends.len() >= wanted || at >= base + BLOCK {
                break; // on from the block that holds `at`
            }
            around = Around { before: around.here, here: around.after, after: Masks::of(text, base + BLOCK) };
        }
    }
    one_by_one(text, at, wanted, ends, end);
}

/// All bits below the lowest one of `mask`; all bits if it has none.
fn below_lowest(mask: u64) -> u64 {
    (mask & mask.wrapping_neg()).wrapping_sub(1)
}

/// Takes the contractions that begin at `apostrophes` out of `starts`: what follows the apostrophe begins nothing,
/// what follows the contraction does. `length` is that of the contraction at a place, if there is one.
#[inline(always)]
pub(super) fn cut_contractions(found: &mut Starts, apostrophes: u64, length: impl Fn(usize) -> Option<usize>) {
    let mut left = apostrophes;
    while left != 0 {
        let place = left.trailing_zeros() as usize;
        left &= left - 1;
        if let Some(length) = length(place) {
            let inside = ((1u128 << (length - 1)) - 1) << (place + 1);
            let next = 1u128 << (place + length);
            found.starts = found.starts & !(inside as u64) | next as u64;
            found.carried |= (next >> 64) as u64;
            found.cleared |= (inside >> 64) as u64;
        }
    }
}
