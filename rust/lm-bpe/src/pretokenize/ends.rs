//! The ends of many pretokens at once: ASCII text by blocks of 64 bytes, all else by the pattern's own scanner.
//!
//! In ASCII text a place begins a pretoken or not by the few bytes around it, so a pattern can say it for a block at
//! once (`starts`). Where other characters are near, and at the end of the text, the scanner that looks at one
//! character after the other (`end`, the ground truth) finds the end of one pretoken, and blocks go on from there.

use std::ops::Deref;

use super::blocks::{Around, BLOCK, Masks};
use super::{Pattern, cl100k, gpt2, o200k, simd};

/// Where pretokens end, in order: a slice of places, and behind it room that a block may write into.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    places: Vec<usize>,
    count: usize,
}

impl Deref for Ends {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.places[..self.count]
    }
}

impl Ends {
    fn push(&mut self, place: usize) {
        self.reserve(1);
        self.places[self.count] = place;
        self.count += 1;
    }

    fn reserve(&mut self, more: usize) {
        if self.places.len() < self.count + more {
            self.places.resize((self.count + more).max(2 * self.count), 0);
        }
    }

    /// Appends `base` and the place of each bit of `mask`, as `write` writes them at the start of an array.
    #[inline(always)]
    fn push_bits(&mut self, base: usize, mask: u64, write: impl Fn(&mut [usize; BLOCK], usize, u64)) {
        self.reserve(BLOCK);
        let room = &mut self.places[self.count..self.count + BLOCK];
        write(room.try_into().expect("room for a block"), base, mask);
        self.count += mask.count_ones() as usize;
    }
}

/// `base` and the place of each bit of `mask`, one after another.
#[inline(always)]
pub(super) fn places(room: &mut [usize; BLOCK], base: usize, mask: u64) {
    let (mut left, mut count) = (mask, 0);
    while left != 0 {
        room[count % BLOCK] = base + left.trailing_zeros() as usize;
        left &= left - 1;
        count += 1;
    }
}

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
    pub(crate) fn ends(self, text: &[u8], from: usize, wanted: usize, ends: &mut Ends) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what the function is made for.
        #[allow(unsafe_code, reason = "see the figures in docs/performance.md")]
        unsafe {
            match simd::level() {
                simd::Level::Avx512 => avx512(self, text, from, wanted, ends),
                simd::Level::Avx2 => avx2(self, text, from, wanted, ends),
                simd::Level::Sse2 => self.ends_by(text, from, wanted, ends, |block| simd::sse2(block), places),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        self.ends_by(text, from, wanted, ends, simd::portable, places);
    }

    /// The same, by the masks that `masks` makes of a block, and places that `write` makes of a mask.
    #[inline(always)]
    pub(super) fn ends_by(
        self,
        text: &[u8],
        from: usize,
        wanted: usize,
        ends: &mut Ends,
        masks: impl Fn(&[u8; BLOCK]) -> Masks,
        write: impl Fn(&mut [usize; BLOCK], usize, u64),
    ) {
        ends.count = 0;
        match self {
            Self::Gpt2 => by_blocks::<Gpt2>(text, from, wanted, ends, masks, write),
            Self::Cl100k => by_blocks::<Cl100k<3, true>>(text, from, wanted, ends, masks, write),
            Self::Llama3 => by_blocks::<Cl100k<3, false>>(text, from, wanted, ends, masks, write),
            Self::Qwen2 => by_blocks::<Cl100k<1, false>>(text, from, wanted, ends, masks, write),
            Self::O200k => by_blocks::<O200k>(text, from, wanted, ends, masks, write),
            Self::Gpt2Digits => one_by_one(text, from, wanted, ends, |at| self.end(text, at)),
        }
    }
}

/// What blocks need of a pattern. Types, not functions as arguments: those would be calls, the masks would go through
/// memory, and a third of the time would be waiting for them.
trait Rules {
    /// Of the block at `base`.
    fn starts(text: &[u8], base: usize, around: &Around) -> Starts;
    /// Of the pretoken at `start`.
    fn end(text: &[u8], start: usize) -> usize;
}

enum Gpt2 {}
enum Cl100k<const DIGITS: usize, const TAIL: bool> {}
enum O200k {}

impl Rules for Gpt2 {
    #[inline(always)]
    fn starts(text: &[u8], base: usize, around: &Around) -> Starts {
        gpt2::starts(text, base, around)
    }

    #[inline(always)]
    fn end(text: &[u8], start: usize) -> usize {
        gpt2::end::<false>(text, start)
    }
}

impl<const DIGITS: usize, const TAIL: bool> Rules for Cl100k<DIGITS, TAIL> {
    #[inline(always)]
    fn starts(text: &[u8], base: usize, around: &Around) -> Starts {
        cl100k::starts::<DIGITS>(text, base, around)
    }

    #[inline(always)]
    fn end(text: &[u8], start: usize) -> usize {
        cl100k::end::<DIGITS, TAIL>(text, start)
    }
}

impl Rules for O200k {
    #[inline(always)]
    fn starts(text: &[u8], base: usize, around: &Around) -> Starts {
        o200k::starts(text, base, around)
    }

    #[inline(always)]
    fn end(text: &[u8], start: usize) -> usize {
        o200k::end(text, start)
    }
}

/// [`Pattern::ends_by`] as it is compiled for processors with AVX-512, and so on.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,avx2,bmi1,bmi2,popcnt")]
fn avx512(pattern: Pattern, text: &[u8], from: usize, wanted: usize, ends: &mut Ends) {
    let write = |room: &mut [usize; BLOCK], base, mask| simd::places(room, base, mask);
    pattern.ends_by(text, from, wanted, ends, |block| simd::avx512(block), write);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn avx2(pattern: Pattern, text: &[u8], from: usize, wanted: usize, ends: &mut Ends) {
    pattern.ends_by(text, from, wanted, ends, |block| simd::avx2(block), places);
}

/// The pretokens up to `wanted` or the end of the text.
#[inline(always)]
fn one_by_one(text: &[u8], mut at: usize, wanted: usize, ends: &mut Ends, end: impl Fn(usize) -> usize) {
    while at < text.len() && ends.len() < wanted {
        at = end(at);
        ends.push(at);
    }
}

#[inline(always)]
fn by_blocks<R: Rules>(
    text: &[u8],
    mut at: usize,
    wanted: usize,
    ends: &mut Ends,
    masks: impl Fn(&[u8; BLOCK]) -> Masks,
    write: impl Fn(&mut [usize; BLOCK], usize, u64),
) {
    let mut around = Around::default();
    let mut first = at / BLOCK * BLOCK; // the block that holds `at`, the first one to be worked on
    let mut next = first.saturating_sub(BLOCK); // whose masks will be `around.after`
    let (mut carried, mut cleared) = (0, 0);
    // A block is worked on if the next one lies whole in the text, too.
    while ends.count < wanted && next + BLOCK <= text.len() {
        let after = masks(text[next..next + BLOCK].try_into().expect("a slice of one block"));
        around = Around { before: around.here, here: around.after, after };
        next += BLOCK;
        if next < first + 2 * BLOCK {
            continue;
        }
        let base = next - 2 * BLOCK;
        let found = R::starts(text, base, &around);
        let (mut starts, mut undecided) = (found.starts & !cleared | carried, found.undecided);
        (carried, cleared) = (found.carried, found.cleared);
        if base <= at {
            starts &= !1 << (at - base);
            undecided &= !0 << (at - base);
        }
        loop {
            // Up to the first undecided place, each start is the end of the pretoken before it.
            let decided = starts & below_lowest(undecided);
            if decided != 0 {
                ends.push_bits(base, decided, &write);
                at = base + decided.ilog2() as usize;
            }
            if undecided == 0 {
                break;
            }
            at = R::end(text, at);
            ends.push(at);
            if at >= base + BLOCK {
                break;
            }
            starts &= !1 << (at - base);
            undecided &= !0 << (at - base);
        }
        if at >= base + 2 * BLOCK {
            // On from the block that holds `at`.
            first = at / BLOCK * BLOCK;
            next = first - BLOCK;
            (around, carried, cleared) = (Around::default(), 0, 0);
        }
    }
    one_by_one(text, at, wanted, ends, |at| R::end(text, at));
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
