//! The distinct pretokens as the trainer sees them: runs of ids in one flat array, rewritten in place by each merge.

use crate::counts::PretokenCounts;
use crate::error::Error;
use crate::neighbours::Neighbours;

/// Two ids in a row.
pub(crate) type Pair = (u32, u32);

#[derive(Debug, Clone, Copy)]
struct Word {
    start: u32,
    length: u32,
    count: i64,
}

/// Words of at least two ids, and how often each occurs.
pub(crate) struct Words {
    ids: Vec<u32>,
    words: Vec<Word>,
}

impl Words {
    /// Each byte is its own id at first. Pretokens of one byte never merge and are left out.
    pub(crate) fn new(counts: &PretokenCounts) -> Result<Self, Error> {
        let mut words = Self { ids: Vec::with_capacity(counts.distinct_bytes()), words: Vec::new() };
        for (pretoken, count) in counts.iter().filter(|&(pretoken, count)| pretoken.len() > 1 && count > 0) {
            let start = u32::try_from(words.ids.len()).ok();
            let length = u32::try_from(pretoken.len()).ok();
            let (Some(start), Some(length)) = (start, length) else {
                return Err(Error::TooMuchText { what: "bytes of distinct pretokens" });
            };
            words.ids.extend(pretoken.iter().map(|&byte| u32::from(byte)));
            words.words.push(Word { start, length, count: i64::try_from(count).unwrap_or(i64::MAX) });
        }
        Ok(words)
    }

    /// Every word's ids and count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u32], i64)> {
        self.words.iter().map(|word| {
            let start = word.start as usize;
            (&self.ids[start..start + word.length as usize], word.count)
        })
    }

    /// Replaces every non-overlapping occurrence of `pair` in word `index` by `merged`, left to right, and tells
    /// `neighbours` which pairs that breaks and makes. O(length of the word).
    pub(crate) fn merge(&mut self, index: u32, pair: Pair, merged: u32, neighbours: &mut Neighbours) {
        let word = &mut self.words[index as usize];
        let start = word.start as usize;
        let ids = &mut self.ids[start..start + word.length as usize];
        let at_pair = |ids: &[u32], at: usize| at + 1 < ids.len() && (ids[at], ids[at + 1]) == pair;
        let Some(first) = (0..ids.len()).find(|&at| at_pair(ids, at)) else { return };

        let (mut read, mut write) = (first, first);
        let mut follows_another = false;
        while read < ids.len() {
            if !at_pair(ids, read) {
                ids[write] = ids[read];
                (read, write) = (read + 1, write + 1);
                follows_another = false;
                continue;
            }
            if write > 0 && !follows_another {
                neighbours.left(ids[write - 1], word.count, index);
            }
            ids[write] = merged;
            (read, write) = (read + 2, write + 1);
            follows_another = at_pair(ids, read);
            if follows_another {
                neighbours.twins(word.count, index);
            } else if read < ids.len() {
                neighbours.right(ids[read], word.count, index);
            }
        }
        word.length = write as u32;
    }
}
