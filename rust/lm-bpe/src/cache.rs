//! The ids of pretokens met before: a table of fixed size, so that memory is bounded whatever the text.
//!
//! A pretoken of up to 15 bytes is one 128-bit key, its length in the top byte. Each key has two places, side by side
//! in one cache line; a new key takes the second, and the first when it is met again, so what comes once only never
//! drives out what comes often. Up to three ids stand in the place itself. More ids, and those of longer pretokens with their bytes (for those
//! the key is but a hash), stand in a shelf beside the table, which is emptied as a whole when it is full. Pieces of pretokens have a small table of their own.

use crate::hash::{fold, hash_bytes};
use crate::huge::{Huge, Zero};
use crate::prefetch::prefetch;

/// Slots: 16 MiB at 32 bytes each. 16,000 distinct pretokens cover 97 % of English prose, 65,536 cover 99.8 %; but 100 MB of it
/// have more than 100,000 that come again, and what is missing must be merged: half as many slots cost 5 % of the speed.
const SLOTS: usize = 1 << 19;
const LINES: usize = SLOTS / 2;
/// For pieces of pretokens: 512 KiB, which stay near. They are characters, of which a language has some thousands.
const PIECE_LINES: usize = 1 << 13;

/// Longer pretokens are found by a hash and compared.
pub(crate) const SHORT: usize = 15;
/// Still longer ones are not kept.
pub(crate) const LONGEST: usize = 64;
/// More ids than this stand in the shelf.
pub(crate) const INLINE: usize = 3;
/// A shelf of more ids, or of four times more bytes, is emptied.
const SHELF: usize = 1 << 18;

/// In the top byte of a key: a hash, which others may share; runs of one or two bytes.
pub(crate) const HASHED: u128 = 1 << 126;
const RUNS: u128 = 1 << 125;

/// A key that no pretoken has.
pub(crate) const NO_KEY: u128 = u128::MAX;

/// What is known of one pretoken.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Slot {
    key: u128,
    /// The ids, and behind them how many they are; or, if they are more than [`INLINE`], which shelf and where in it.
    /// So a hit copies all at once, 16 bytes.
    pub(crate) ids: [u32; INLINE + 1],
}

/// The two places of a key, in one line of the processor's cache.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([Slot; 2]);

// SAFETY: integers alone, for which no bits are wrong.
#[allow(unsafe_code, reason = "an empty cache costs nothing until it is used; see `huge`")]
unsafe impl Zero for Line {}

const EMPTY: Line = Line([Slot { key: 0, ids: [0; INLINE + 1] }; 2]);

impl Slot {
    /// How many of `ids` are ids; `None` if they are on the shelf.
    #[inline(always)]
    pub(crate) fn inline(&self) -> Option<usize> {
        (self.ids[INLINE] <= INLINE as u32).then_some(self.ids[INLINE] as usize)
    }
}

const ON_THE_SHELF: u32 = u32::MAX;

impl Line {
    #[inline(always)]
    fn get(&mut self, key: u128) -> Option<&Slot> {
        if self.0[0].key != key && !self.comes_first(key) {
            return None;
        }
        Some(&self.0[0])
    }

    /// Puts the second slot first if it is that of the key.
    #[inline(never)]
    fn comes_first(&mut self, key: u128) -> bool {
        let Self(pair) = self;
        let found = pair[1].key == key;
        if found {
            pair.swap(0, 1);
        }
        found
    }

    fn put(&mut self, slot: Slot) {
        let Self(pair) = self;
        pair[usize::from(pair[0].key != slot.key && pair[0].key != 0)] = slot;
    }
}

/// Ids by pretoken, for one vocabulary.
#[derive(Debug)]
pub(crate) struct Cache {
    lines: Huge<Line, LINES>,
    pieces: Box<[Line]>,
    /// Which shelf is the present one; slots of earlier ones are void.
    shelf: u32,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    ids: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    bytes: (u32, u32),
    ids: (u32, u32),
}

/// The key of a pretoken of 1 to [`SHORT`] bytes; different pretokens have different keys, and none is 0.
#[inline(always)]
pub(crate) fn key(pretoken: &[u8]) -> u128 {
    let length = pretoken.len();
    let read8 = |at: usize| u64::from_le_bytes(pretoken[at..at + 8].try_into().expect("8 bytes"));
    let read4 = |at: usize| u32::from_le_bytes(pretoken[at..at + 4].try_into().expect("4 bytes"));
    // Two overlapping reads hold all bytes.
    let (low, high) = if length >= 8 {
        (read8(0), read8(length - 8).unbounded_shr(8 * (16 - length as u32)))
    } else if length >= 4 {
        (u64::from(read4(0)) | u64::from(read4(length - 4)) << (8 * (length - 4)), 0)
    } else {
        let two = length.min(2) - 1;
        (
            u64::from(pretoken[0])
                | u64::from(pretoken[two]) << (8 * two)
                | u64::from(pretoken[length - 1]) << (8 * (length - 1)),
            0,
        )
    };
    u128::from(low) | u128::from(high) << 64 | (length as u128) << 120
}

/// The same key for `text[start..start + length]`, by one read of 16 bytes where the text has them.
#[inline(always)]
pub(crate) fn key_at(text: &[u8], start: usize, length: usize) -> u128 {
    match text.get(start..start + 16) {
        Some(bytes) => {
            let bytes = u128::from_le_bytes(bytes.try_into().expect("16 bytes"));
            bytes & KEPT[length & 15] | (length as u128) << 120
        }
        None => key(&text[start..start + length]),
    }
}

/// The lowest bytes, by their number.
static KEPT: [u128; 16] = {
    let mut masks = [0; 16];
    let mut length = 1;
    while length < 16 {
        masks[length] = u128::MAX >> (128 - 8 * length);
        length += 1;
    }
    masks
};

/// The key of a pretoken of more than [`SHORT`] bytes, which others may share.
pub(crate) fn hashed_key(pretoken: &[u8]) -> u128 {
    let hash = hash_bytes(pretoken);
    HASHED | u128::from(hash) | (pretoken.len() as u128) << 64
}

/// The key of a pretoken of more than [`SHORT`] bytes that is a run of one byte (an indentation, a line of dashes) or
/// two in a row (line ends and an indentation), which no other has; `None` for any other pretoken.
pub(crate) fn runs_key(pretoken: &[u8]) -> Option<u128> {
    let run = |bytes: &[u8]| bytes.iter().take_while(|&byte| *byte == bytes[0]).count();
    let (first, length) = (run(pretoken), pretoken.len());
    let second = pretoken.get(first).copied().unwrap_or_default();
    (first == length || run(&pretoken[first..]) == length - first).then(|| {
        RUNS | (length as u128) << 64 | (first as u128) << 16 | u128::from(second) << 8 | u128::from(pretoken[0])
    })
}

impl Cache {
    pub(crate) fn new() -> Self {
        let pieces = vec![EMPTY; PIECE_LINES].into_boxed_slice();
        Self { lines: Huge::zeroed(), pieces, shelf: 0, entries: Vec::new(), bytes: Vec::new(), ids: Vec::new() }
    }

    /// The line of a key.
    #[inline(always)]
    fn place(key: u128) -> usize {
        let hash = fold(key as u64 ^ 0x9e37_79b9_7f4a_7c15, (key >> 64) as u64 ^ 0xe703_7ed1_a0b4_28db);
        hash as usize % LINES
    }

    /// Where `get_at` will look for a key, which it will find the sooner for having been told.
    #[inline(always)]
    pub(crate) fn prefetch(&self, key: u128) -> usize {
        let place = Self::place(key);
        prefetch(&*self.lines, place);
        place
    }

    /// What is known of a key.
    #[inline(always)]
    pub(crate) fn get(&mut self, key: u128) -> Option<&Slot> {
        self.get_at(Self::place(key), key)
    }

    /// The same where the place is known.
    #[inline(always)]
    pub(crate) fn get_at(&mut self, place: usize, key: u128) -> Option<&Slot> {
        self.lines[place % LINES].get(key)
    }

    /// What is known of a piece of a pretoken, which may have other ids than the same bytes alone.
    #[inline(always)]
    pub(crate) fn get_piece(&mut self, key: u128) -> Option<&Slot> {
        self.pieces[Self::place(key) % PIECE_LINES].get(key)
    }

    /// The ids behind a slot without inline ids, if its shelf is still there and they are those of `pretoken`.
    pub(crate) fn on_shelf(&self, slot: Slot, pretoken: &[u8]) -> Option<&[u32]> {
        let [shelf, index, ..] = slot.ids;
        let entry = self.entries.get(index as usize).filter(|_| shelf == self.shelf)?;
        let of = |(start, length): (u32, u32)| start as usize..(start + length) as usize;
        let bytes = &self.bytes[of(entry.bytes)];
        (bytes == pretoken || slot.key & HASHED == 0).then(|| &self.ids[of(entry.ids)])
    }

    /// Keeps the ids of a pretoken; `key` is that of its bytes. What was put is also returned: if its ids are inline, it is as good in
    /// any other cache.
    pub(crate) fn put(&mut self, key: u128, pretoken: &[u8], ids: &[u32]) -> Slot {
        let slot = self.slot(key, pretoken, ids);
        self.lines[Self::place(key)].put(slot);
        slot
    }

    /// Keeps slots with inline ids of another cache.
    pub(crate) fn put_all(&mut self, slots: &[Slot]) {
        for (index, slot) in slots.iter().enumerate() {
            if let Some(later) = slots.get(index + 16) {
                self.prefetch(later.key);
            }
            self.lines[Self::place(slot.key)].put(*slot);
        }
    }

    /// The same for a piece.
    pub(crate) fn put_piece(&mut self, key: u128, piece: &[u8], ids: &[u32]) {
        let slot = self.slot(key, piece, ids);
        self.pieces[Self::place(key) % PIECE_LINES].put(slot);
    }

    /// The slot that holds these ids, or says where they are on the shelf.
    fn slot(&mut self, key: u128, pretoken: &[u8], ids: &[u32]) -> Slot {
        let mut slot = Slot { key, ids: [0; INLINE + 1] };
        if ids.len() <= INLINE && key & HASHED == 0 {
            slot.ids[..ids.len()].copy_from_slice(ids);
            slot.ids[INLINE] = ids.len() as u32;
        } else {
            if self.ids.len() > SHELF || self.bytes.len() > 4 * SHELF {
                self.empty_shelf();
            }
            let kept = if key & HASHED == 0 { &[] } else { pretoken };
            slot.ids = [self.shelf, self.entries.len() as u32, 0, ON_THE_SHELF];
            self.entries.push(Entry {
                bytes: (self.bytes.len() as u32, kept.len() as u32),
                ids: (self.ids.len() as u32, ids.len() as u32),
            });
            self.bytes.extend_from_slice(kept);
            self.ids.extend_from_slice(ids);
        }
        slot
    }

    fn empty_shelf(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.ids.clear();
        self.shelf = self.shelf.wrapping_add(1);
        if self.shelf == 0 {
            self.lines.fill(EMPTY); // numbers begin anew
            self.pieces.fill(EMPTY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn different_pretokens_have_different_keys() {
        let mut seen: HashMap<u128, Vec<u8>> = HashMap::new();
        for length in 1..=SHORT {
            for at in 0..length {
                for byte in [1, 2, 0xff] {
                    let mut pretoken = vec![0; length];
                    pretoken[at] = byte;
                    assert_eq!(seen.insert(key(&pretoken), pretoken), None);
                }
            }
            assert_eq!(seen.insert(key(&vec![0; length]), vec![0; length]), None);
        }
    }

    #[test]
    fn a_key_is_the_same_wherever_its_bytes_stand() {
        let text: Vec<u8> = (0..40u8).map(|byte| byte.wrapping_mul(37)).collect();
        for start in 0..text.len() {
            for length in 1..=SHORT.min(text.len() - start) {
                assert_eq!(key_at(&text, start, length), key(&text[start..start + length]));
            }
        }
    }

    #[test]
    fn runs_of_one_or_two_bytes_have_keys_that_no_others_have() {
        let mut seen: HashMap<u128, Vec<u8>> = HashMap::new();
        for (first, second) in [(b'\n', b' '), (b' ', b'\n'), (b'-', b' '), (b'-', 0), (0, b'-'), (0, 0)] {
            for length in SHORT + 1..=LONGEST {
                for before in 1..=length {
                    let pretoken = [vec![first; before], vec![second; length - before]].concat();
                    let of_key = seen.entry(runs_key(&pretoken).unwrap()).or_insert_with(|| pretoken.clone());
                    assert_eq!(*of_key, pretoken);
                    let three = [&pretoken[1..], b"x", &[second]].concat();
                    assert_eq!(runs_key(&three), None);
                }
            }
        }
    }

    #[test]
    fn a_full_cache_forgets_but_never_answers_wrongly() {
        let mut cache = Cache::new();
        for number in 0..400_000u32 {
            cache.put(key(&number.to_le_bytes()), &[], &[number, number + 1]);
        }
        let mut kept = 0;
        for number in 0..400_000u32 {
            if let Some(slot) = cache.get(key(&number.to_le_bytes())) {
                kept += 1;
                assert_eq!((slot.ids, slot.inline()), ([number, number + 1, 0, 2], Some(2)));
            }
        }
        assert!(kept > SLOTS / 2 && kept <= SLOTS);
    }

    #[test]
    fn many_ids_and_long_pretokens_are_told_apart_until_the_shelf_is_emptied() {
        let mut cache = Cache::new();
        let long = |number: u32| [number.to_le_bytes().repeat(5), b"the end".to_vec()].concat();
        for number in 0..100_000u32 {
            cache.put(hashed_key(&long(number)), &long(number), &[number]);
            cache.put(key(&number.to_le_bytes()), &number.to_le_bytes(), &[number; 4]);
        }
        let mut kept = 0;
        for number in 0..100_000u32 {
            let (long, short) = (long(number), number.to_le_bytes());
            for (key, bytes, wanted) in [(hashed_key(&long), &long[..], 1), (key(&short), &short, 4)] {
                let Some(&slot) = cache.get(key) else { continue };
                assert_eq!(slot.inline(), None);
                if let Some(ids) = cache.on_shelf(slot, bytes) {
                    kept += 1;
                    assert_eq!(ids, vec![number; wanted]);
                }
                let hashed = bytes.len() > SHORT; // the key of a short one is itself
                assert!(!hashed || cache.on_shelf(slot, b"other bytes of a long pretoken").is_none());
            }
        }
        assert!(kept > 10_000 && kept < 200_000);
        assert!(cache.ids.len() <= SHELF + 4 && cache.bytes.len() <= 4 * SHELF + LONGEST);
    }
}
