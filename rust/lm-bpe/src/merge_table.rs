//! Pair to rank: one probe of a flat open hash table, of one word a merge, for each pair that the encoder looks at.

use std::collections::HashMap;

use crate::error::Error;
use crate::hash::hash_word;
use crate::token_table::TokenTable;
use crate::vocab::Merge;

/// The rank of a pair that does not merge.
pub(crate) const NO_RANK: u32 = u32::MAX;

/// Bits of an id in a slot, above those of a rank. What has more ids or ranks is held in a map instead.
const ID_BITS: u32 = 21;
const RANK_BITS: u32 = 22;
const FREE: u64 = u64::MAX;

/// All merges of a vocabulary, by pair. Ranks are any numbers in the order of the merges: the ids that they make, where
/// those ascend, as they do in every published vocabulary; then the rank alone says all.
#[derive(Debug, Clone)]
pub(crate) struct MergeTable {
    /// Left id, right id and rank; half the memory of four words, and more of them stay near: 5 to 10 % of a cold encode.
    slots: Vec<u64>,
    /// All merges, where they do not fit into slots.
    wide: HashMap<(u32, u32), u32>,
    /// The id that each rank makes; empty if they are equal.
    merged: Vec<u32>,
    /// Every merge has a higher rank than those that make its parts. Then ranks may be worked off in ascending order.
    ascending: bool,
    rank_bound: u32,
    /// A bit for each hash of a pair that merges, 8 to 16 bits a merge. Most pairs that are asked for do not merge, and
    /// this table stays in the nearest memory: 25 % of the time of a cold encode.
    filter: Vec<u64>,
    /// The rank of every pair of bytes, which is where every pretoken begins.
    of_bytes: Vec<u32>,
}

#[inline(always)]
fn hash(left: u32, right: u32) -> u64 {
    hash_word(u64::from(left) << 32 | u64::from(right))
}

/// Two ids side by side.
#[inline(always)]
fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << ID_BITS | u64::from(right)
}

impl MergeTable {
    /// Checks that each merge joins two tokens into their bytes in a row, and that no pair comes twice.
    pub(crate) fn new(merges: &[Merge], tokens: &TokenTable) -> Result<Self, Error> {
        Self::with(merges, tokens, tokens.id_bound() >= 1 << ID_BITS || merges.len() >= 1 << RANK_BITS)
    }

    /// The same, its merges in a map.
    #[cfg(test)]
    pub(crate) fn wide(merges: &[Merge], tokens: &TokenTable) -> Result<Self, Error> {
        Self::with(merges, tokens, true)
    }

    fn with(merges: &[Merge], tokens: &TokenTable, wide: bool) -> Result<Self, Error> {
        let ascend = merges.is_sorted_by(|before, after| before.merged < after.merged);
        let ids = merges.last().map_or(0, |last| last.merged.saturating_add(1));
        let rank_bound = if ascend { ids } else { merges.len() as u32 };
        let slots = if wide { 1 } else { (merges.len() + merges.len() / 4 + 1).next_power_of_two() };
        let mut table = Self {
            slots: vec![FREE; slots],
            wide: HashMap::new(),
            merged: if ascend { vec![] } else { merges.iter().map(|merge| merge.merged).collect() },
            ascending: true,
            rank_bound,
            filter: vec![0; (merges.len() / 8).next_power_of_two()],
            of_bytes: Vec::new(),
        };
        let mut made_by = vec![0; tokens.id_bound() as usize]; // one more than the highest place of a merge that makes the id
        for (place, merge) in merges.iter().enumerate() {
            let bytes = |id| tokens.bytes(id).ok_or(Error::UnknownMergePart { rank: place, id });
            let (left, right, merged) = (bytes(merge.left)?, bytes(merge.right)?, bytes(merge.merged)?);
            if merged.strip_prefix(left) != Some(right) {
                let (left, right, merged) = (left.to_vec(), right.to_vec(), merged.to_vec());
                return Err(Error::MergeMismatch { rank: place, left, right, merged });
            }
            if table.get(merge.left, merge.right) != NO_RANK {
                return Err(Error::DuplicateMerge { rank: place, left: left.to_vec(), right: right.to_vec() });
            }
            let hash = hash(merge.left, merge.right);
            let (word, bit) = table.filtered(hash);
            table.filter[word] |= bit;
            let rank = if ascend { merge.merged } else { place as u32 };
            if wide {
                table.wide.insert((merge.left, merge.right), rank);
            } else {
                let slot = table.slot(hash, pair(merge.left, merge.right));
                table.slots[slot] = pair(merge.left, merge.right) << RANK_BITS | u64::from(rank);
            }
            made_by[merge.merged as usize] = place + 1;
        }
        let after = |place: usize, part: u32| made_by[part as usize] <= place;
        table.ascending =
            merges.iter().enumerate().all(|(place, merge)| after(place, merge.left) && after(place, merge.right));
        let ids: Vec<Option<u32>> = (0..=255).map(|byte| tokens.id_of(&[byte])).collect();
        let pairs = ids.iter().flat_map(|left| ids.iter().map(move |right| left.zip(*right)));
        table.of_bytes = pairs.map(|pair| pair.map_or(NO_RANK, |(left, right)| table.get(left, right))).collect();
        Ok(table)
    }

    /// The rank of a pair; [`NO_RANK`] where it does not merge. O(1).
    #[inline(always)]
    pub(crate) fn get(&self, left: u32, right: u32) -> u32 {
        let hash = hash(left, right);
        let (word, bit) = self.filtered(hash);
        if self.filter[word] & bit == 0 {
            return NO_RANK;
        }
        if !self.wide.is_empty() {
            return self.wide.get(&(left, right)).copied().unwrap_or(NO_RANK);
        }
        match self.slots[self.slot(hash, pair(left, right))] {
            FREE => NO_RANK,
            found => found as u32 % (1 << RANK_BITS),
        }
    }

    /// The same for a pair of bytes, at the cost of a load.
    #[inline(always)]
    pub(crate) fn get_bytes(&self, left: u8, right: u8) -> u32 {
        self.of_bytes[usize::from(left) << 8 | usize::from(right)]
    }

    /// The id that a pair of this rank becomes.
    #[inline(always)]
    pub(crate) fn merged(&self, rank: u32) -> u32 {
        if self.merged.is_empty() { rank } else { self.merged[rank as usize] }
    }

    /// Ranks are below it.
    pub(crate) fn rank_bound(&self) -> u32 {
        self.rank_bound
    }

    /// Whether a merge never makes a pair that should have merged before it.
    pub(crate) fn is_ascending(&self) -> bool {
        self.ascending
    }

    /// The bit of a hash in the filter; other bits than those that choose the slot.
    #[inline(always)]
    fn filtered(&self, hash: u64) -> (usize, u64) {
        ((hash >> 38) as usize & (self.filter.len() - 1), 1 << (hash >> 32 & 63))
    }

    /// The slot of the pair, or the free one where it belongs.
    #[inline(always)]
    fn slot(&self, hash: u64, pair: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != FREE && self.slots[slot] >> RANK_BITS != pair {
            slot = (slot + 1) & mask;
        }
        slot
    }
}
