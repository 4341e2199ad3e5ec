//! How often each pretoken occurs: all that training needs to know of a text. Counts of parts add up to those of the whole.

use crate::hash::hash_bytes;
use crate::pretokenize::Pattern;

/// A distinct pretoken; its bytes end where the next one's start.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    count: u64,
}

/// A slot of the hash table: 24 bits of the hash, then 40 of the entry's index plus one; 0 is free.
const INDEX_BITS: u32 = 40;
const INDEX: u64 = (1 << INDEX_BITS) - 1;

/// Distinct pretokens and their 64-bit counts. Memory: the bytes of the distinct pretokens, and 24 to 40 bytes for each.
///
/// ```
/// use lm_bpe::{Pattern, PretokenCounts};
/// let mut counts = PretokenCounts::new();
/// counts.add_text(Pattern::Gpt2, b"to be or not to be");
/// assert_eq!(counts.get(b" be"), 2);
/// assert_eq!(counts.total(), 6);
/// ```
#[derive(Debug, Clone, Default)]
pub struct PretokenCounts {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// Linear probing, at most half full; empty or a power of two.
    slots: Vec<u64>,
}

impl PretokenCounts {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts the pretokens of `text`. O(text.len()).
    pub fn add_text(&mut self, pattern: Pattern, text: &[u8]) {
        for pretoken in pattern.pretokens(text) {
            self.add(pretoken, 1);
        }
    }

    /// Counts `pretoken` `count` times more. A count that would pass `u64::MAX` stays there.
    pub fn add(&mut self, pretoken: &[u8], count: u64) {
        if 2 * self.entries.len() >= self.slots.len() {
            self.grow();
        }
        let hash = hash_bytes(pretoken);
        match self.find(pretoken, hash) {
            Ok(index) => self.entries[index].count = self.entries[index].count.saturating_add(count),
            Err(slot) => {
                self.entries.push(Entry { start: self.arena.len(), count });
                self.arena.extend_from_slice(pretoken);
                self.slots[slot] = hash & !INDEX | self.entries.len() as u64;
            }
        }
    }

    /// Adds all counts of `other`. O(distinct pretokens of `other`).
    pub fn merge(&mut self, other: &Self) {
        for (pretoken, count) in other.iter() {
            self.add(pretoken, count);
        }
    }

    /// How often `pretoken` was counted.
    pub fn get(&self, pretoken: &[u8]) -> u64 {
        if self.slots.is_empty() {
            return 0;
        }
        self.find(pretoken, hash_bytes(pretoken)).map_or(0, |index| self.entries[index].count)
    }

    /// Distinct pretokens.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The sum of all counts.
    pub fn total(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.count))
    }

    /// The bytes of the distinct pretokens.
    pub fn distinct_bytes(&self) -> usize {
        self.arena.len()
    }

    /// The bytes of the counted text: each pretoken's length times its count.
    pub fn text_bytes(&self) -> u64 {
        let bytes = |(pretoken, count): (&[u8], u64)| count.saturating_mul(pretoken.len() as u64);
        self.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Pretokens and counts in the order in which they were first met (which depends on how threads took turns).
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        (0..self.entries.len()).map(|index| (self.pretoken(index), self.entries[index].count))
    }

    /// Pretokens and counts, ascending by bytes: equal counts give equal lists. O(n log n).
    pub fn sorted(&self) -> Vec<(&[u8], u64)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable();
        all
    }

    fn pretoken(&self, index: usize) -> &[u8] {
        let end = self.entries.get(index + 1).map_or(self.arena.len(), |next| next.start);
        &self.arena[self.entries[index].start..end]
    }

    /// The index of `pretoken`, or the free slot where it belongs.
    fn find(&self, pretoken: &[u8], hash: u64) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let found = self.slots[slot];
            if found == 0 {
                return Err(slot);
            }
            let index = (found & INDEX) as usize - 1;
            if (found ^ hash) >> INDEX_BITS == 0 && self.pretoken(index) == pretoken {
                return Ok(index);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = (4 * self.entries.len()).max(1 << 10).next_power_of_two();
        self.slots.clear();
        self.slots.resize(size, 0);
        for index in 0..self.entries.len() {
            let hash = hash_bytes(self.pretoken(index));
            let mut slot = hash as usize & (size - 1);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (size - 1);
            }
            self.slots[slot] = hash & !INDEX | (index as u64 + 1);
        }
    }
}

/// Equal if they hold equal counts, in whatever order they were met.
impl PartialEq for PretokenCounts {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(pretoken, count)| other.get(pretoken) == count)
    }
}

impl Eq for PretokenCounts {}

impl<'a> Extend<(&'a [u8], u64)> for PretokenCounts {
    fn extend<I: IntoIterator<Item = (&'a [u8], u64)>>(&mut self, pairs: I) {
        for (pretoken, count) in pairs {
            self.add(pretoken, count);
        }
    }
}
