//! A part of the counts: distinct pretokens of some hashes, in one arena, found by an open hash table.

use crate::hash::hash_bytes;

/// A distinct pretoken; its bytes end where the next one's start.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    count: u64,
}

/// A slot of the hash table: 24 bits of the hash, then 40 of the entry's index plus one; 0 is free.
const INDEX_BITS: u32 = 40;
const INDEX: u64 = (1 << INDEX_BITS) - 1;

/// Distinct pretokens and their counts. Memory: their bytes, and 24 to 40 bytes for each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shard {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// Linear probing, at most half full; empty or a power of two.
    slots: Vec<u64>,
}

impl Shard {
    /// Counts `pretoken`, whose hash is `hash`, `count` times more. A count that would pass `u64::MAX` stays there.
    pub(crate) fn add(&mut self, pretoken: &[u8], hash: u64, count: u64) {
        if 2 * self.entries.len() >= self.slots.len() {
            self.grow();
        }
        match self.find(pretoken, hash) {
            Ok(index) => self.entries[index].count = self.entries[index].count.saturating_add(count),
            Err(slot) => {
                self.entries.push(Entry { start: self.arena.len(), count });
                self.arena.extend_from_slice(pretoken);
                self.slots[slot] = hash & !INDEX | self.entries.len() as u64;
            }
        }
    }

    pub(crate) fn get(&self, pretoken: &[u8], hash: u64) -> u64 {
        if self.slots.is_empty() {
            return 0;
        }
        self.find(pretoken, hash).map_or(0, |index| self.entries[index].count)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.arena.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        (0..self.entries.len()).map(|index| (self.pretoken(index), self.entries[index].count))
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
        let size = (4 * self.entries.len()).max(1 << 6).next_power_of_two();
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
