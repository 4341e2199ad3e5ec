//! For every pair of neighbouring ids: how often it occurs, and at which places.

use crate::hash::hash_word;
use crate::neighbours::Neighbours;
use crate::words::{Pair, Words};

/// A list of places, as a slice of `Pairs::places`.
type List = u32;
const NO_LIST: List = u32::MAX;
const BYTES: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Slot {
    pair: u64,
    count: i64,
    list: List,
}

const FREE: u64 = u64::MAX;

#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    length: u32,
}

/// Counts and places of all pairs. A pair is made by one merge, that of the later of its two tokens, and gets its list
/// of places then. A listed place may lose the pair again, but every place that holds it is listed.
pub(crate) struct Pairs {
    slots: Vec<Slot>,
    used: usize,
    places: Vec<u32>,
    lists: Vec<Span>,
    dropped: usize,
}

fn key(pair: Pair) -> u64 {
    u64::from(pair.0) << 32 | u64::from(pair.1)
}

impl Pairs {
    /// Counts all pairs of bytes: a dense table of 65,536, then one list for each that occurs.
    pub(crate) fn new(words: &Words, mut found: impl FnMut(Pair, i64)) -> Self {
        let dense = |pair: Pair| pair.0 as usize * BYTES + pair.1 as usize;
        let mut counts = vec![0i64; BYTES * BYTES];
        let mut lengths = vec![0u32; BYTES * BYTES];
        words.each_pair(|_, pair, count| {
            counts[dense(pair)] = counts[dense(pair)].saturating_add(count);
            lengths[dense(pair)] += 1;
        });
        let all = lengths.iter().map(|&length| length as usize).sum();
        let slots = vec![Slot { pair: FREE, count: 0, list: NO_LIST }; 1 << 12];
        let mut pairs = Self { slots, used: 0, places: vec![0; all], lists: Vec::new(), dropped: 0 };
        let mut next = vec![0usize; BYTES * BYTES];
        let mut start = 0;
        for pair in 0..BYTES * BYTES {
            next[pair] = start;
            if lengths[pair] > 0 {
                let ids = ((pair / BYTES) as u32, (pair % BYTES) as u32);
                pairs.slot(ids).count = counts[pair];
                pairs.add_list(ids, start, lengths[pair]);
                found(ids, counts[pair]);
                start += lengths[pair] as usize;
            }
        }
        words.each_pair(|place, pair, _| {
            let next = &mut next[dense(pair)];
            pairs.places[*next] = place;
            *next += 1;
        });
        pairs
    }

    pub(crate) fn count(&self, pair: Pair) -> i64 {
        self.slots[self.find(key(pair))].count
    }

    /// Sets the count of a pair that has just been merged everywhere to 0.
    pub(crate) fn forget(&mut self, pair: Pair) {
        let slot = self.find(key(pair));
        self.slots[slot].count = 0; // as it is where the pair never occurred
    }

    /// Applies what a merge changed, and calls `found(pair, count)` for each pair that it made.
    pub(crate) fn apply(&mut self, neighbours: &mut Neighbours, mut found: impl FnMut(Pair, i64)) {
        for change in neighbours.changes() {
            self.slot(change.lost).count -= change.count;
            let won = self.slot(change.won);
            won.count = won.count.saturating_add(change.count);
        }
        let mut places = std::mem::take(&mut self.places);
        neighbours.list_places(&mut places, |pair, start, length| {
            self.add_list(pair, start, length);
            let count = self.count(pair);
            if count > 0 {
                found(pair, count);
            }
        });
        self.places = places;
    }

    /// Moves the places of a pair, which has none if it never occurred, to `places`.
    pub(crate) fn take_list(&mut self, pair: Pair, places: &mut Vec<u32>) {
        let list = self.slots[self.find(key(pair))].list;
        let Some(&span) = self.lists.get(list as usize) else { return };
        places.extend_from_slice(&self.places[span.start..span.start + span.length as usize]);
        self.drop_list(list);
        if self.dropped > self.places.len() / 2 {
            self.compact();
        }
    }

    fn drop_list(&mut self, list: List) {
        if let Some(span) = self.lists.get_mut(list as usize) {
            self.dropped += std::mem::take(&mut span.length) as usize;
        }
    }

    fn add_list(&mut self, pair: Pair, start: usize, length: u32) {
        let list = self.lists.len() as List;
        self.slot(pair).list = list;
        self.lists.push(Span { start, length });
    }

    /// Closes the gaps of taken lists. Lists lie in the order of their numbers, so one pass forward does.
    fn compact(&mut self) {
        let mut write = 0;
        for span in self.lists.iter_mut().filter(|span| span.length > 0) {
            self.places.copy_within(span.start..span.start + span.length as usize, write);
            span.start = write;
            write += span.length as usize;
        }
        self.places.truncate(write);
        self.places.shrink_to_fit(); // there were never as many as in the beginning
        self.dropped = 0;
    }

    /// The slot of a pair, or the free one where it belongs.
    fn find(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash_word(key) as usize & mask;
        while self.slots[slot].pair != key && self.slots[slot].pair != FREE {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// The slot of a pair, made if there is none.
    fn slot(&mut self, pair: Pair) -> &mut Slot {
        let mut slot = self.find(key(pair));
        if self.slots[slot].pair == FREE {
            if 4 * self.used >= 3 * self.slots.len() {
                self.rebuild();
                slot = self.find(key(pair));
            }
            self.used += 1;
            self.slots[slot].pair = key(pair);
        }
        &mut self.slots[slot]
    }

    /// Makes room: pairs that no longer occur go, and the table grows if more than half of it remains.
    fn rebuild(&mut self) {
        let free = Slot { pair: FREE, count: 0, list: NO_LIST };
        let mut live = std::mem::take(&mut self.slots);
        let size = live.len();
        live.retain(|slot| {
            let dead = slot.count == 0;
            if dead {
                self.drop_list(slot.list);
            }
            slot.pair != FREE && !dead
        });
        live.shrink_to_fit(); // the old table and the new one are never held at once
        self.slots = vec![free; if 2 * live.len() > size { 2 * size } else { size }];
        self.used = live.len();
        for kept in live {
            let slot = self.find(kept.pair);
            self.slots[slot] = kept;
        }
    }
}
