//! Pair to (rank, merged id): one probe of a flat open hash table for each pair that the encoder looks at.

use crate::error::Error;
use crate::hash::hash_word;
use crate::token_table::TokenTable;
use crate::vocab::Merge;

/// The rank of a pair that does not merge.
pub(crate) const NO_RANK: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Slot {
    left: u32,
    right: u32,
    rank: u32,
    merged: u32,
}

const FREE: Slot = Slot { left: u32::MAX, right: u32::MAX, rank: NO_RANK, merged: u32::MAX };

/// All merges of a vocabulary, by pair.
#[derive(Debug, Clone)]
pub(crate) struct MergeTable {
    slots: Vec<Slot>,
    /// Every merge has a higher rank than those that make its parts. Then ranks may be worked off in ascending order.
    ascending: bool,
    length: usize,
    /// A bit for each hash of a pair that merges, 8 to 16 bits a merge. Most pairs that are asked for do not merge, and
    /// this table stays in the nearest memory: 25 % of the time of a cold encode.
    filter: Vec<u64>,
    /// Rank and merged id of every pair of bytes, which is where every pretoken begins.
    of_bytes: Vec<(u32, u32)>,
}

#[inline(always)]
fn hash(left: u32, right: u32) -> u64 {
    hash_word(u64::from(left) << 32 | u64::from(right))
}

impl MergeTable {
    /// Checks that each merge joins two tokens into their bytes in a row, and that no pair comes twice.
    pub(crate) fn new(merges: &[Merge], tokens: &TokenTable) -> Result<Self, Error> {
        let mut table = Self {
            slots: vec![FREE; (merges.len() + merges.len() / 4 + 1).next_power_of_two()],
            ascending: true,
            length: merges.len(),
            filter: vec![0; (merges.len() / 8).next_power_of_two()],
            of_bytes: Vec::new(),
        };
        let mut made_by = vec![0; tokens.id_bound() as usize]; // one more than the highest rank that makes the id
        for (rank, merge) in merges.iter().enumerate() {
            let bytes = |id| tokens.bytes(id).ok_or(Error::UnknownMergePart { rank, id });
            let (left, right, merged) = (bytes(merge.left)?, bytes(merge.right)?, bytes(merge.merged)?);
            if merged.strip_prefix(left) != Some(right) {
                let (left, right, merged) = (left.to_vec(), right.to_vec(), merged.to_vec());
                return Err(Error::MergeMismatch { rank, left, right, merged });
            }
            let slot = table.slot(merge.left, merge.right);
            if table.slots[slot].rank != NO_RANK {
                return Err(Error::DuplicateMerge { rank, left: left.to_vec(), right: right.to_vec() });
            }
            let (word, bit) = table.filtered(hash(merge.left, merge.right));
            table.filter[word] |= bit;
            table.slots[slot] = Slot { left: merge.left, right: merge.right, rank: rank as u32, merged: merge.merged };
            made_by[merge.merged as usize] = rank + 1;
        }
        let after = |rank: usize, part: u32| made_by[part as usize] <= rank;
        table.ascending =
            merges.iter().enumerate().all(|(rank, merge)| after(rank, merge.left) && after(rank, merge.right));
        let ids: Vec<Option<u32>> = (0..=255).map(|byte| tokens.id_of(&[byte])).collect();
        let pairs = ids.iter().flat_map(|left| ids.iter().map(move |right| left.zip(*right)));
        table.of_bytes = pairs.map(|pair| pair.map_or((NO_RANK, 0), |(left, right)| table.get(left, right))).collect();
        Ok(table)
    }

    /// The rank of a pair and what it becomes; the rank is [`NO_RANK`] where it does not merge. O(1).
    #[inline(always)]
    pub(crate) fn get(&self, left: u32, right: u32) -> (u32, u32) {
        let (word, bit) = self.filtered(hash(left, right));
        if self.filter[word] & bit == 0 {
            return (NO_RANK, u32::MAX);
        }
        let slot = self.slots[self.slot(left, right)];
        (slot.rank, slot.merged)
    }

    /// The same for a pair of bytes, at the cost of a load.
    #[inline(always)]
    pub(crate) fn get_bytes(&self, left: u8, right: u8) -> (u32, u32) {
        self.of_bytes[usize::from(left) << 8 | usize::from(right)]
    }

    /// How many merges there are; ranks are below it.
    pub(crate) fn len(&self) -> usize {
        self.length
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
    fn slot(&self, left: u32, right: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash(left, right) as usize & mask;
        while self.slots[slot].rank != NO_RANK && (self.slots[slot].left, self.slots[slot].right) != (left, right) {
            slot = (slot + 1) & mask;
        }
        slot
    }
}
