//! How often each pretoken occurs: all that training needs to know of a text. Counts of parts add up to those of the whole.

use std::borrow::Cow;

use crate::hash::hash_bytes;
use crate::pretokenize::Pattern;
use crate::shard::Shard;

/// Parts that threads may fill at once; a pretoken's hash says in which one it is counted.
pub(crate) const SHARDS: usize = 16;

/// Distinct pretokens and their 64-bit counts. Memory: the bytes of the distinct pretokens, and 24 to 40 bytes for each.
///
/// ```
/// use lm_bpe::{Pattern, PretokenCounts};
/// let mut counts = PretokenCounts::new();
/// counts.add_text(Pattern::Gpt2, b"to be or not to be");
/// assert_eq!(counts.get(b" be"), 2);
/// assert_eq!(counts.total(), 6);
/// ```
#[derive(Debug, Clone)]
pub struct PretokenCounts {
    shards: Vec<Shard>,
}

impl Default for PretokenCounts {
    fn default() -> Self {
        Self::new()
    }
}

/// The shard of a hash: by bits that no shard's own table uses.
#[inline(always)]
pub(crate) fn shard_of(hash: u64) -> usize {
    (hash >> 36) as usize % SHARDS
}

impl PretokenCounts {
    pub fn new() -> Self {
        Self { shards: vec![Shard::default(); SHARDS] }
    }

    pub(crate) fn from_shards(shards: Vec<Shard>) -> Self {
        debug_assert_eq!(shards.len(), SHARDS);
        Self { shards }
    }

    /// Counts the pretokens of `text`. O(text.len()).
    pub fn add_text(&mut self, pattern: Pattern, text: &[u8]) {
        for pretoken in pattern.pretokens(text) {
            self.add(pretoken, 1);
        }
    }

    /// Counts `pretoken` `count` times more. A count that would pass `u64::MAX` stays there.
    pub fn add(&mut self, pretoken: &[u8], count: u64) {
        let hash = hash_bytes(pretoken);
        self.shards[shard_of(hash)].add(pretoken, hash, count);
    }

    /// Adds all counts of `other`. O(distinct pretokens of `other`).
    pub fn merge(&mut self, other: &Self) {
        for (pretoken, count) in other.iter() {
            self.add(pretoken, count);
        }
    }

    /// How often `pretoken` was counted.
    pub fn get(&self, pretoken: &[u8]) -> u64 {
        let hash = hash_bytes(pretoken);
        self.shards[shard_of(hash)].get(pretoken, hash)
    }

    /// Distinct pretokens.
    pub fn len(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of all counts.
    pub fn total(&self) -> u64 {
        self.iter().fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// The bytes of the distinct pretokens.
    pub fn distinct_bytes(&self) -> usize {
        self.shards.iter().map(Shard::bytes).sum()
    }

    /// The bytes of the counted text: each pretoken's length times its count.
    pub fn text_bytes(&self) -> u64 {
        let bytes = |(pretoken, count): (&[u8], u64)| count.saturating_mul(pretoken.len() as u64);
        self.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Pretokens and counts in no particular order (it depends on how threads took turns).
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.shards.iter().flat_map(Shard::iter)
    }

    /// Pretokens and counts, ascending by bytes: equal counts give equal lists. O(n log n).
    pub fn sorted(&self) -> Vec<(&[u8], u64)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_unstable();
        all
    }
}

impl From<PretokenCounts> for Cow<'_, PretokenCounts> {
    fn from(counts: PretokenCounts) -> Self {
        Self::Owned(counts)
    }
}

impl<'a> From<&'a PretokenCounts> for Cow<'a, PretokenCounts> {
    fn from(counts: &'a PretokenCounts) -> Self {
        Self::Borrowed(counts)
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
