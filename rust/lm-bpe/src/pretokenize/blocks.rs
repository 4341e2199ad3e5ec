//! 64 bytes of text at a time as bit masks, one bit a byte: what lets a pattern find the pretokens of ASCII text by a
//! few operations on whole words instead of a look at every byte. On x86-64 by SSE2, which every such processor has.
//!
//! Measured on 100 MB of English, the ends of pretokens alone: 380 MB/s by one byte at a time, 1.6 GB/s by blocks.

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;

/// The classes of a block's bytes. No bit is set for bytes before the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// `A-Z`, `a-z`
    pub(super) letter: u64,
    /// `A-Z`
    pub(super) upper: u64,
    /// `0-9`
    pub(super) number: u64,
    /// U+0020 only
    pub(super) space: u64,
    /// U+0009 to U+000D: `\t\n\v\f\r`
    pub(super) control_space: u64,
    /// `\n`, `\r`
    pub(super) line_end: u64,
    /// `'`
    pub(super) apostrophe: u64,
    /// 0x80 and above
    pub(super) beyond: u64,
    /// ASCII that is neither letter, number nor white space
    pub(super) other: u64,
}

impl Masks {
    /// White space of any kind.
    pub(super) fn white(&self) -> u64 {
        self.space | self.control_space
    }

    /// The masks of the block that starts at `start`, which lies whole in `text`.
    #[inline(always)]
    pub(super) fn of(text: &[u8], start: usize) -> Self {
        let block: &[u8; BLOCK] = text[start..start + BLOCK].try_into().expect("a slice of one block");
        // SAFETY: SSE2 belongs to every x86-64 processor; the function needs nothing else.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code, reason = "the only call of a vector function; see the figures at the top")]
        let masks = unsafe { sse2(block) };
        #[cfg(not(target_arch = "x86_64"))]
        let masks = portable(block);
        masks
    }
}

/// The definition, one byte at a time.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn portable(block: &[u8; BLOCK]) -> Masks {
    let mut masks = Masks::default();
    for (place, byte) in block.iter().enumerate() {
        let bit = |is: bool| u64::from(is) << place;
        masks.letter |= bit(byte.is_ascii_alphabetic());
        masks.upper |= bit(byte.is_ascii_uppercase());
        masks.number |= bit(byte.is_ascii_digit());
        masks.space |= bit(*byte == b' ');
        masks.control_space |= bit(matches!(byte, 9..=13));
        masks.line_end |= bit(matches!(byte, b'\n' | b'\r'));
        masks.apostrophe |= bit(*byte == b'\'');
        masks.beyond |= bit(!byte.is_ascii());
    }
    masks.other = !(masks.letter | masks.number | masks.white() | masks.beyond);
    masks
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn sse2(block: &[u8; BLOCK]) -> Masks {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
        _mm_sub_epi8,
    };
    let bits = |found: __m128i| u64::from(_mm_movemask_epi8(found) as u16);
    let equal = |bytes: __m128i, byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
    // `first <= byte <= last`, without signs: what is below `first` wraps around to above `last`.
    let between = |bytes: __m128i, first: u8, last: u8| {
        let offset = _mm_sub_epi8(bytes, _mm_set1_epi8(first as i8));
        _mm_cmpeq_epi8(_mm_min_epu8(offset, _mm_set1_epi8((last - first) as i8)), offset)
    };
    let mut masks = Masks::default();
    for quarter in 0..4 {
        let eight = |at: usize| i64::from_le_bytes(block[at..at + 8].try_into().expect("8 bytes"));
        let bytes = _mm_set_epi64x(eight(16 * quarter + 8), eight(16 * quarter));
        let shift = 16 * quarter;
        masks.letter |= bits(between(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), b'a', b'z')) << shift;
        masks.upper |= bits(between(bytes, b'A', b'Z')) << shift;
        masks.number |= bits(between(bytes, b'0', b'9')) << shift;
        masks.space |= bits(equal(bytes, b' ')) << shift;
        masks.control_space |= bits(between(bytes, 9, 13)) << shift;
        masks.line_end |= bits(_mm_or_si128(equal(bytes, b'\n'), equal(bytes, b'\r'))) << shift;
        masks.apostrophe |= bits(equal(bytes, b'\'')) << shift;
        masks.beyond |= bits(bytes) << shift; // the highest bit of each byte
    }
    masks.other = !(masks.letter | masks.number | masks.white() | masks.beyond);
    masks
}

/// A block between its neighbours, for rules that look at the characters beside one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Around {
    pub(super) before: Masks,
    pub(super) here: Masks,
    pub(super) after: Masks,
}

impl Around {
    /// For each byte, whether the byte `distance` before it is in a mask.
    #[inline(always)]
    pub(super) fn is_before(&self, distance: u32, mask: impl Fn(&Masks) -> u64) -> u64 {
        mask(&self.here) << distance | mask(&self.before) >> (64 - distance)
    }

    /// For each byte, whether the byte after it is in a mask.
    #[inline(always)]
    pub(super) fn is_after(&self, mask: impl Fn(&Masks) -> u64) -> u64 {
        mask(&self.here) >> 1 | mask(&self.after) << 63
    }

    /// Places for which the bytes around do not decide, since some are beyond ASCII: from one byte before such a byte
    /// to four behind it, as far as a contraction that begins behind it may reach.
    #[inline(always)]
    pub(super) fn undecided(&self) -> u64 {
        let beyond = |masks: &Masks| masks.beyond;
        if self.here.beyond | self.before.beyond >> 60 | self.after.beyond << 63 == 0 {
            return 0;
        }
        let behind = (1..=4).fold(0, |all, distance| all | self.is_before(distance, beyond));
        self.here.beyond | self.is_after(beyond) | behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_masks_are_those_of_the_definition() {
        let mut text: Vec<u8> = (0..=255).cycle().take(1024).collect();
        let mut state = 1u64;
        text.extend((0..64 * 500).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u8
        }));
        for start in 0..text.len() - BLOCK {
            let block = text[start..start + BLOCK].try_into().unwrap();
            assert_eq!(Masks::of(&text, start), portable(block), "at {start}");
        }
    }
}
