//! A fast hash of short byte strings: two overlapping 8-byte reads up to 16 bytes, folded multiplications beyond.

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xe703_7ed1_a0b4_28db;

fn read8(bytes: &[u8], at: usize) -> u64 {
    let eight: [u8; 8] = bytes[at..at + 8].try_into().expect("a slice of 8 bytes");
    u64::from_le_bytes(eight)
}

fn read4(bytes: &[u8], at: usize) -> u64 {
    let four: [u8; 4] = bytes[at..at + 4].try_into().expect("a slice of 4 bytes");
    u64::from(u32::from_le_bytes(four))
}

/// The 128-bit product of `a` and `b`, its halves folded together.
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A well-mixed 64-bit hash of `bytes`. O(bytes.len()).
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let length = bytes.len();
    let (low, high) = match length {
        0 => (0, 0),
        1..4 => {
            let middle_and_last = u64::from(bytes[length / 2]) << 8 | u64::from(bytes[length - 1]);
            (u64::from(bytes[0]) << 16 | middle_and_last, 0)
        }
        4..8 => (read4(bytes, 0), read4(bytes, length - 4)),
        8..=16 => (read8(bytes, 0), read8(bytes, length - 8)),
        _ => {
            let mut state = K0;
            let mut at = 0;
            while at + 16 < length {
                state = fold(read8(bytes, at) ^ state, read8(bytes, at + 8) ^ K1);
                at += 16;
            }
            (read8(bytes, length - 16) ^ state, read8(bytes, length - 8))
        }
    };
    fold(low ^ K0, high ^ K1 ^ (length as u64).wrapping_mul(K0))
}

/// A well-mixed 64-bit hash of one word.
pub(crate) fn hash_word(word: u64) -> u64 {
    fold(word ^ K1, K0)
}
