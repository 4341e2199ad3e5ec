//! The distinct pretokens as the trainer sees them: all in one flat array that merges rewrite in place.
//!
//! A token of n bytes lies on n places and stands in the first and in the last of them, so both neighbours of a place
//! are at hand: the next token begins n places on, and the one before ends at the place before. A pair is known by its
//! first place. Words lie in the order of their counts, so that a place's count is found among few classes.

use crate::counts::PretokenCounts;
use crate::error::Error;
use crate::neighbours::Neighbours;
use crate::prefetch::prefetch;

/// Two ids in a row.
pub(crate) type Pair = (u32, u32);

/// Before, between and after words.
const GAP: u32 = u32::MAX;
/// Where a token began that is now the inner part of another.
const INNER: u32 = u32::MAX - 1;

/// Places that a merge asks the memory for before it comes to them.
const AHEAD: usize = 16;

/// Words of at least two bytes, and how often each occurs.
pub(crate) struct Words {
    ids: Vec<u32>,
    /// Where words of a lower count begin, and that count. Ascending places, falling counts.
    classes: Vec<(u32, i64)>,
    /// Bytes by id.
    lengths: Vec<u32>,
}

impl Words {
    /// Each byte is its own id at first. Pretokens of one byte never merge and are left out. O(n log n) in the words.
    pub(crate) fn new(counts: &PretokenCounts) -> Result<Self, Error> {
        let mut sorted: Vec<(&[u8], u64)> =
            counts.iter().filter(|&(word, count)| word.len() > 1 && count > 0).collect();
        sorted.sort_unstable_by_key(|&(_, count)| std::cmp::Reverse(count));
        let places = 1 + sorted.iter().map(|(word, _)| word.len() + 1).sum::<usize>();
        if places > INNER as usize {
            return Err(Error::TooMuchText { what: "bytes of distinct pretokens" });
        }
        let mut words = Self { ids: Vec::with_capacity(places), classes: Vec::new(), lengths: vec![1; 256] };
        words.ids.push(GAP);
        for (word, count) in sorted {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            if words.classes.last().is_none_or(|class| class.1 != count) {
                words.classes.push((words.ids.len() as u32, count));
            }
            words.ids.extend(word.iter().map(|&byte| u32::from(byte)));
            words.ids.push(GAP);
        }
        Ok(words)
    }

    /// Calls `found(place, pair, count)` for every pair, by ascending places. Before the first merge only.
    pub(crate) fn each_pair(&self, mut found: impl FnMut(u32, Pair, i64)) {
        let mut class = 0;
        for (place, pair) in self.ids.windows(2).enumerate() {
            if pair[0] != GAP && pair[1] != GAP {
                class = self.class(class, place as u32);
                found(place as u32, (pair[0], pair[1]), self.classes[class].1);
            }
        }
    }

    /// The class of a place, which is not before class `from`.
    #[inline(always)]
    fn class(&self, from: usize, place: u32) -> usize {
        match self.classes.get(from + 1) {
            Some(next) if next.0 <= place => from + self.classes[from + 1..].partition_point(|class| class.0 <= place),
            _ => from,
        }
    }

    /// Replaces `pair` by `merged`, the next new id, at all of `places` where it still is, and tells `neighbours` which
    /// pairs that breaks and makes. `places` ascend and hold all of the pair's; overlapping ones merge from the left.
    pub(crate) fn merge(&mut self, places: &[u32], pair: Pair, merged: u32, neighbours: &mut Neighbours) {
        let (left_length, right_length) = (self.lengths[pair.0 as usize], self.lengths[pair.1 as usize]);
        let length = left_length + right_length;
        self.lengths.push(length);
        let mut class = 0;
        for (index, &place) in places.iter().enumerate() {
            if let Some(&later) = places.get(index + AHEAD) {
                prefetch(&self.ids, later as usize);
            }
            let (at, second) = (place as usize, (place + left_length) as usize);
            if self.ids[at] != pair.0 || self.ids[second] != pair.1 {
                continue; // merged into something else since
            }
            class = self.class(class, place);
            let count = self.classes[class].1;
            match self.ids[at - 1] {
                GAP => {}
                before if before == merged => neighbours.twins(count, place - length),
                before => neighbours.left(before, count, place - self.lengths[before as usize]),
            }
            let next = at + length as usize;
            self.ids[second] = INNER;
            self.ids[next - 1] = merged;
            self.ids[at] = merged;
            match self.ids[next] {
                GAP => {}
                // The same pair once more: it will find this one on its left.
                after if after == pair.0 && self.ids[next + left_length as usize] == pair.1 => {}
                after => neighbours.right(after, count, place),
            }
        }
    }
}
