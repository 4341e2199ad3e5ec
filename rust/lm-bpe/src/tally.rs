//! One thread's counting: the frequent pretokens in a small table that stays in the processor's cache, all others handed
//! to the shards that all threads share. So each distinct pretoken is stored once, whatever the number of threads.

use std::sync::Mutex;

use crate::cache::{SHORT, key_at};
use crate::counts::{SHARDS, shard_of};
use crate::hash::{fold, hash_bytes};
use crate::pretokenize::{Ends, Pattern};
use crate::shard::Shard;
use crate::threads::lock;

/// Places: 512 KiB at 32 bytes each, two for each key, side by side.
const PLACES: usize = 1 << 14;
/// Pretokens that are handed to a shard at a time.
const HANDFUL: usize = 1 << 10;

#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Place {
    key: u128,
    count: u64,
}

const EMPTY: Place = Place { key: 0, count: 0 };

/// What one thread has counted and not yet handed over.
#[derive(Debug)]
pub(crate) struct Tally {
    places: Vec<Place>,
    handfuls: Vec<Handful>,
    ends: Ends,
}

/// Pretokens on their way to one shard.
#[derive(Debug, Clone, Default)]
struct Handful {
    bytes: Vec<u8>,
    /// (hash, bytes, count)
    pretokens: Vec<(u64, usize, u64)>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { places: vec![EMPTY; PLACES], handfuls: vec![Handful::default(); SHARDS], ends: Ends::default() }
    }

    /// Counts the pretokens of `text`.
    pub(crate) fn add_text(&mut self, pattern: Pattern, text: &[u8], shards: &[Mutex<Shard>]) {
        const MANY: usize = 512;
        let mut ends = std::mem::take(&mut self.ends);
        let mut start = 0;
        while start < text.len() {
            pattern.ends(text, start, MANY, &mut ends);
            for &end in ends.iter() {
                if end - start <= SHORT {
                    self.add_short(key_at(text, start, end - start), shards);
                } else {
                    self.hand_over(&text[start..end], 1, shards);
                }
                start = end;
            }
        }
        self.ends = ends;
    }

    #[inline(always)]
    fn add_short(&mut self, key: u128, shards: &[Mutex<Shard>]) {
        let hash = fold(key as u64 ^ 0x9e37_79b9_7f4a_7c15, (key >> 64) as u64 ^ 0xe703_7ed1_a0b4_28db);
        let at = (hash as usize & (PLACES - 1)) & !1;
        let pair = &mut self.places[at..at + 2];
        if pair[0].key == key {
            pair[0].count += 1;
        } else if pair[1].key == key {
            pair[1].count += 1;
            if pair[1].count > pair[0].count {
                pair.swap(0, 1); // the rarer of the two is the next to go
            }
        } else {
            let gone = std::mem::replace(&mut pair[1], Place { key, count: 1 });
            self.put_away(gone, shards);
        }
    }

    /// Hands over what a place held.
    #[inline(never)]
    fn put_away(&mut self, place: Place, shards: &[Mutex<Shard>]) {
        if place.count > 0 {
            let bytes = place.key.to_le_bytes();
            self.hand_over(&bytes[..usize::from(bytes[15])], place.count, shards);
        }
    }

    fn hand_over(&mut self, pretoken: &[u8], count: u64, shards: &[Mutex<Shard>]) {
        let hash = hash_bytes(pretoken);
        let handful = &mut self.handfuls[shard_of(hash)];
        handful.bytes.extend_from_slice(pretoken);
        handful.pretokens.push((hash, pretoken.len(), count));
        if handful.pretokens.len() >= HANDFUL {
            handful.give_to(&mut lock(&shards[shard_of(hash)]));
        }
    }

    /// Hands over all that is left.
    pub(crate) fn finish(&mut self, shards: &[Mutex<Shard>]) {
        for at in 0..PLACES {
            let place = std::mem::replace(&mut self.places[at], EMPTY);
            self.put_away(place, shards);
        }
        for (handful, shard) in self.handfuls.iter_mut().zip(shards) {
            handful.give_to(&mut lock(shard));
        }
    }
}

impl Handful {
    fn give_to(&mut self, shard: &mut Shard) {
        let mut start = 0;
        for (hash, length, count) in self.pretokens.drain(..) {
            shard.add(&self.bytes[start..start + length], hash, count);
            start += length;
        }
        self.bytes.clear();
        self.bytes.shrink_to(1 << 16);
    }
}
