//! 64 bytes of text at a time as bit masks, one bit a byte: what lets a pattern find the pretokens of ASCII text by a
//! few operations on whole words instead of a look at every byte. `simd` makes the masks.

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
    #[inline(always)]
    pub(super) fn white(&self) -> u64 {
        self.space | self.control_space
    }
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
        let behind = |distance| self.is_before(distance, beyond);
        self.here.beyond | self.is_after(beyond) | behind(1) | behind(2) | behind(3) | behind(4)
    }
}
