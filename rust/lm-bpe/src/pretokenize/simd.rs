//! The masks of a block, by the widest vectors that the processor has: AVX-512, AVX2, or SSE2, which every x86-64 has;
//! elsewhere one byte at a time, which is the definition. What there is, is found out at run time.

use super::blocks::{BLOCK, Masks};

/// The definition, one byte at a time.
#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) fn portable(block: &[u8; BLOCK]) -> Masks {
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
pub(super) use x86::{Level, avx2, avx512, level, places, sse2};

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Masks};

    /// What of these a processor has. Each has what those before it have.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
    pub(in super::super) enum Level {
        Sse2,
        Avx2,
        Avx512,
    }

    /// That of the processor at hand. A few loads: the answer is kept.
    #[inline(always)]
    pub(in super::super) fn level() -> Level {
        let words = is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2");
        if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") && words) {
            Level::Sse2
        } else if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vbmi2") {
            Level::Avx512
        } else {
            Level::Avx2
        }
    }

    /// All masks by two tests of the bytes of a block: that they are `equal(byte)`, that they lie `between(first, last)`;
    /// `letter`, which is the latter without case, and `beyond` are given.
    #[inline(always)]
    fn by_tests(letter: u64, beyond: u64, equal: impl Fn(u8) -> u64, between: impl Fn(u8, u8) -> u64) -> Masks {
        let number = between(b'0', b'9');
        let space = equal(b' ');
        let control_space = between(9, 13);
        Masks {
            letter,
            upper: between(b'A', b'Z'),
            number,
            space,
            control_space,
            line_end: equal(b'\n') | equal(b'\r'),
            apostrophe: equal(b'\''),
            beyond,
            other: !(letter | number | space | control_space | beyond),
        }
    }

    /// Eight bytes of a block.
    #[inline(always)]
    fn eight(block: &[u8; BLOCK], at: usize) -> i64 {
        i64::from_le_bytes(block[8 * at..8 * at + 8].try_into().expect("8 bytes"))
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(in super::super) fn sse2(block: &[u8; BLOCK]) -> Masks {
        let quarters: [__m128i; 4] =
            std::array::from_fn(|quarter| _mm_set_epi64x(eight(block, 2 * quarter + 1), eight(block, 2 * quarter)));
        let bits = |test: &dyn Fn(__m128i) -> __m128i| {
            let quarter = |at: usize| u64::from(_mm_movemask_epi8(test(quarters[at])) as u16) << (16 * at);
            quarter(0) | quarter(1) | quarter(2) | quarter(3)
        };
        // `first <= byte <= last`, without signs: what is below `first` wraps around to above `last`.
        let within = |bytes: __m128i, first: u8, last: u8| {
            let offset = _mm_sub_epi8(bytes, _mm_set1_epi8(first as i8));
            _mm_cmpeq_epi8(_mm_min_epu8(offset, _mm_set1_epi8((last - first) as i8)), offset)
        };
        by_tests(
            bits(&|bytes| within(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), b'a', b'z')),
            bits(&|bytes| bytes), // the highest bit of each byte
            |byte| bits(&|bytes| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))),
            |first, last| bits(&|bytes| within(bytes, first, last)),
        )
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(in super::super) fn avx2(block: &[u8; BLOCK]) -> Masks {
        let half =
            |at| _mm256_set_epi64x(eight(block, at + 3), eight(block, at + 2), eight(block, at + 1), eight(block, at));
        let (low, high) = (half(0), half(4));
        let bits = |test: &dyn Fn(__m256i) -> __m256i| {
            let half = |bytes| u64::from(_mm256_movemask_epi8(test(bytes)) as u32);
            half(low) | half(high) << 32
        };
        let within = |bytes: __m256i, first: u8, last: u8| {
            let offset = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first as i8));
            _mm256_cmpeq_epi8(_mm256_min_epu8(offset, _mm256_set1_epi8((last - first) as i8)), offset)
        };
        by_tests(
            bits(&|bytes| within(_mm256_or_si256(bytes, _mm256_set1_epi8(0x20)), b'a', b'z')),
            bits(&|bytes| bytes),
            |byte| bits(&|bytes| _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte as i8))),
            |first, last| bits(&|bytes| within(bytes, first, last)),
        )
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(in super::super) fn avx512(block: &[u8; BLOCK]) -> Masks {
        let eight = |at| eight(block, at);
        let bytes = _mm512_set_epi64(eight(7), eight(6), eight(5), eight(4), eight(3), eight(2), eight(1), eight(0));
        let within = |bytes: __m512i, first: u8, last: u8| {
            let offset = _mm512_sub_epi8(bytes, _mm512_set1_epi8(first as i8));
            _mm512_cmple_epu8_mask(offset, _mm512_set1_epi8((last - first) as i8))
        };
        by_tests(
            within(_mm512_or_si512(bytes, _mm512_set1_epi8(0x20)), b'a', b'z'),
            _mm512_movepi8_mask(bytes),
            |byte| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8)),
            |first, last| within(bytes, first, last),
        )
    }

    /// `base` and the place of each bit of `mask`, one after another; behind them is written, too. Without a branch for a
    /// block of words, where a loop guesses its end wrong.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
    #[inline]
    pub(in super::super) fn places(room: &mut [usize; BLOCK], base: usize, mask: u64) {
        const USUAL: usize = 24;
        const COUNTING: [u8; BLOCK] = {
            let mut bytes = [0; BLOCK];
            let mut at = 0;
            while at < BLOCK {
                bytes[at] = at as u8;
                at += 1;
            }
            bytes
        };
        if mask.count_ones() as usize > USUAL {
            return super::super::ends::places(room, base, mask);
        }
        let eight = |at| eight(&COUNTING, at);
        let all = _mm512_set_epi64(eight(7), eight(6), eight(5), eight(4), eight(3), eight(2), eight(1), eight(0));
        let found = _mm512_maskz_compress_epi8(mask, all);
        let (low, high) = (_mm512_castsi512_si128(found), _mm512_extracti32x4_epi32::<1>(found));
        let base = _mm512_set1_epi64(base as i64);
        for (at, bytes) in [low, _mm_srli_si128::<8>(low), high].into_iter().enumerate() {
            let places = _mm512_add_epi64(_mm512_cvtepu8_epi64(bytes), base);
            let room = &mut room[8 * at..8 * at + 8];
            // SAFETY: the slice has room for the eight places of eight bytes each; nothing is asked of where it lies.
            #[allow(unsafe_code, reason = "a store of one vector; see the figures in docs/performance.md")]
            unsafe {
                _mm512_storeu_epi64(room.as_mut_ptr().cast(), places);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Way = fn(&[u8; BLOCK]) -> Masks;

    /// The masks of each kind of vector that this processor has.
    fn ways() -> Vec<Way> {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: a way is taken only on a processor that has its vectors.
            #[allow(unsafe_code, reason = "calls of vector functions")]
            let ways: [(Level, Way); 3] = [
                (Level::Sse2, |block| unsafe { sse2(block) }),
                (Level::Avx2, |block| unsafe { avx2(block) }),
                (Level::Avx512, |block| unsafe { avx512(block) }),
            ];
            ways.into_iter().filter(|way| way.0 <= level()).map(|way| way.1).collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![]
    }

    #[test]
    fn the_fast_masks_are_those_of_the_definition() {
        let (every_byte, blocks) = if cfg!(miri) { (320, 0) } else { (1024, 500) };
        let mut text: Vec<u8> = (0..=255).cycle().take(every_byte).collect();
        let mut state = 1u64;
        text.extend((0..64 * blocks).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u8
        }));
        for start in 0..text.len() - BLOCK {
            let block = text[start..start + BLOCK].try_into().unwrap();
            for masks in ways() {
                assert_eq!(masks(block), portable(block), "at {start}");
            }
        }
    }
}
