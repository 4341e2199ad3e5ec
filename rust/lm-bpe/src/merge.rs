//! One pretoken to ids: as long as a pair of neighbours has a rank, merge the pair of the lowest, the leftmost first.
//!
//! Three ways to the same ids: a scan for the minimum where there are few ids; for long pretokens, the ranks in
//! ascending order, each worked off from left to right in one go; and, should a vocabulary have a merge that ranks
//! below one it depends on, a heap. All but the first keep the ids in a linked list. O(n log n) at worst.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::merge_table::{MergeTable, NO_RANK};

/// Up to this many bytes the quadratic scan is the fastest.
const SCAN: usize = 48;

/// Working memory, kept between pretokens.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    ids: Vec<u32>,
    /// What the pairs become: see [`packed`].
    pairs: Vec<u64>,
    list: Vec<Node>,
    /// For each rank at hand, the places whose pair has it.
    places: Vec<Vec<u32>>,
    places_of_rank: Vec<u32>,
    ranks: BinaryHeap<Reverse<u32>>,
    heap: BinaryHeap<Reverse<(u32, u32)>>,
}

/// An id in a linked list, all that a merge needs of it side by side: long pretokens are visited out of order.
#[derive(Debug, Clone, Copy)]
struct Node {
    id: u32,
    /// The rank of the pair that begins here, and what it becomes.
    rank: u32,
    merged: u32,
    next: u32,
    previous: u32,
}

const NONE: u32 = u32::MAX;

/// Appends the ids of one pretoken to `out`. `byte_ids`: the ids of its bytes.
pub(crate) fn merge(
    table: &MergeTable,
    pretoken: &[u8],
    byte_ids: &[u32; 256],
    scratch: &mut Scratch,
    out: &mut Vec<u32>,
) {
    scratch.ids.clear();
    scratch.ids.extend(pretoken.iter().map(|&byte| byte_ids[usize::from(byte)]));
    scratch.pairs.clear();
    scratch.pairs.extend(pretoken.windows(2).map(|pair| packed(table.get_bytes(pair[0], pair[1]))));
    if pretoken.len() <= SCAN {
        by_scan(table, scratch);
        out.extend_from_slice(&scratch.ids);
        return;
    }
    link(scratch);
    if table.is_ascending() {
        by_rank(table, scratch);
    } else {
        by_heap(table, scratch);
    }
    out.extend(linked_ids(&scratch.list));
}

/// Rank and merged id in one number, so that the lowest rank is the lowest number.
fn packed((rank, merged): (u32, u32)) -> u64 {
    u64::from(rank) << 32 | u64::from(merged)
}

/// The number of every pair that does not merge has at least this.
const NO_PAIR: u64 = (NO_RANK as u64) << 32;

/// The ids of a linked list, which always begins with node 0.
fn linked_ids(list: &[Node]) -> impl Iterator<Item = u32> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let node = list.get(at as usize)?; // NONE is past every end
        at = node.next;
        Some(node.id)
    })
}

fn by_scan(table: &MergeTable, scratch: &mut Scratch) {
    let Scratch { ids, pairs, .. } = scratch;
    loop {
        let (mut best, mut at) = (NO_PAIR, 0);
        for (place, &pair) in pairs.iter().enumerate() {
            if pair < best {
                (best, at) = (pair, place);
            }
        }
        if best == NO_PAIR {
            return;
        }
        let merged = best as u32;
        ids[at] = merged;
        ids.remove(at + 1);
        pairs.remove(at);
        if at > 0 {
            pairs[at - 1] = packed(table.get(ids[at - 1], merged));
        }
        if at < pairs.len() {
            pairs[at] = packed(table.get(merged, ids[at + 1]));
        }
    }
}

/// Links the ids. Places are 32-bit: no pretoken of 4 GiB fits in memory with its list.
fn link(scratch: &mut Scratch) {
    let Scratch { ids, pairs, list, .. } = scratch;
    let node = |at: usize| {
        let pair = pairs.get(at).copied().unwrap_or(NO_PAIR);
        let next = if at + 1 < ids.len() { at as u32 + 1 } else { NONE };
        let (rank, merged) = ((pair >> 32) as u32, pair as u32);
        Node { id: ids[at], rank, merged, next, previous: (at as u32).wrapping_sub(1) }
    };
    list.clear();
    list.extend((0..ids.len()).map(node));
}

/// Merges the pair at `at`; calls `found(scratch, place, rank)` for the pairs this makes.
fn merge_at(table: &MergeTable, scratch: &mut Scratch, at: u32, mut found: impl FnMut(&mut Scratch, u32, u32)) {
    let list = &mut scratch.list;
    let Node { next: gone, merged, previous: before, .. } = list[at as usize];
    let after = list[gone as usize].next;
    list[gone as usize].rank = NO_RANK;
    let mut pair = (NO_RANK, 0);
    if after != NONE {
        list[after as usize].previous = at;
        pair = table.get(merged, list[after as usize].id);
    }
    list[at as usize] = Node { id: merged, rank: pair.0, merged: pair.1, next: after, previous: before };
    found(scratch, at, pair.0);
    if before != NONE {
        let node = &mut scratch.list[before as usize];
        (node.rank, node.merged) = table.get(node.id, merged);
        let rank = node.rank;
        found(scratch, before, rank);
    }
}

/// Ranks ascending. Exact where no merge makes a pair of a lower rank than its own: then all places of the lowest
/// rank are known when its turn comes, and what it makes comes later.
fn by_rank(table: &MergeTable, scratch: &mut Scratch) {
    scratch.places_of_rank.resize(table.len(), NONE);
    for at in 0..scratch.list.len() {
        note(scratch, at as u32, scratch.list[at].rank);
    }
    while let Some(Reverse(rank)) = scratch.ranks.pop() {
        let list = std::mem::replace(&mut scratch.places_of_rank[rank as usize], NONE) as usize;
        let mut places = std::mem::take(&mut scratch.places[list]);
        if !places.is_sorted() {
            places.sort_unstable();
        }
        for &at in &places {
            if scratch.list[at as usize].rank == rank {
                merge_at(table, scratch, at, note);
            }
        }
    }
    scratch.places.clear();
}

fn note(scratch: &mut Scratch, at: u32, rank: u32) {
    if rank == NO_RANK {
        return;
    }
    let list = &mut scratch.places_of_rank[rank as usize];
    if *list == NONE {
        *list = scratch.places.len() as u32;
        scratch.places.push(Vec::new());
        scratch.ranks.push(Reverse(rank));
    }
    scratch.places[*list as usize].push(at);
}

/// (rank, place) by a heap, for any vocabulary.
fn by_heap(table: &MergeTable, scratch: &mut Scratch) {
    let push = |scratch: &mut Scratch, at: u32, rank: u32| {
        if rank != NO_RANK {
            scratch.heap.push(Reverse((rank, at)));
        }
    };
    for at in 0..scratch.list.len() {
        push(scratch, at as u32, scratch.list[at].rank);
    }
    while let Some(Reverse((rank, at))) = scratch.heap.pop() {
        if scratch.list[at as usize].rank == rank {
            merge_at(table, scratch, at, push);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::long::merge_long;
    use crate::token_table::TokenTable;
    use crate::vocab::Merge;

    /// The definition: find the lowest rank, leftmost, merge it, start over.
    fn naive(table: &MergeTable, mut ids: Vec<u32>) -> Vec<u32> {
        loop {
            let best = ids.windows(2).enumerate().map(|(at, pair)| (table.get(pair[0], pair[1]), at));
            match best.min_by_key(|&((rank, _), at)| (rank, at)) {
                Some(((rank, merged), at)) if rank != NO_RANK => {
                    ids.splice(at..at + 2, [merged]);
                }
                _ => return ids,
            }
        }
    }

    /// Random merges over `a`, `b`, `c`: each joins two tokens met before; `shuffle` ranks them in any order.
    fn random_table(random: &mut impl FnMut(usize) -> usize, shuffle: bool) -> (MergeTable, Vec<usize>) {
        let mut tokens: Vec<Vec<u8>> = vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
        let mut merges: Vec<Merge> = Vec::new();
        for _ in 0..12 {
            let (left, right) = (random(tokens.len()), random(tokens.len()));
            let joined = [tokens[left].clone(), tokens[right].clone()].concat();
            if joined.len() <= 9 && !tokens.contains(&joined) {
                merges.push(Merge { left: left as u32, right: right as u32, merged: tokens.len() as u32 });
                tokens.push(joined);
            }
        }
        if shuffle {
            for last in (1..merges.len()).rev() {
                merges.swap(last, random(last + 1));
            }
        }
        let lengths = tokens.iter().map(Vec::len).collect();
        let tokens: Vec<_> = (0..).zip(tokens).collect();
        (MergeTable::new(&merges, &TokenTable::new(&tokens).unwrap()).unwrap(), lengths)
    }

    #[test]
    fn every_way_merges_as_the_definition_does() {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut scratch = Scratch::default();
        let mut heap_only = 0;
        for round in 0..600 {
            let (table, lengths) = random_table(&mut random, round % 2 == 1);
            heap_only += usize::from(!table.is_ascending());
            for _ in 0..20 {
                let length = 1 + random(60);
                let letters = 1 + random(3);
                let ids: Vec<u32> = (0..length).map(|_| random(letters) as u32).collect();
                let wanted = naive(&table, ids.clone());
                let pairs: Vec<u64> = ids.windows(2).map(|pair| packed(table.get(pair[0], pair[1]))).collect();
                scratch.ids.clone_from(&ids);
                scratch.pairs.clone_from(&pairs);
                by_scan(&table, &mut scratch);
                assert_eq!(scratch.ids, wanted, "scan");
                let window = |bytes: &[u8], out: &mut Vec<u32>| {
                    out.extend(naive(&table, bytes.iter().map(|&byte| u32::from(byte)).collect()));
                };
                let bytes: Vec<u8> = ids.iter().map(|&id| id as u8).collect();
                let mut joined = vec![9];
                merge_long(&bytes, 4 + random(20), window, |id| lengths[id as usize], || false, &mut joined);
                assert_eq!(joined[1..], wanted, "windows");
                let linked: &[fn(&MergeTable, &mut Scratch)] =
                    if table.is_ascending() { &[by_heap, by_rank] } else { &[by_heap] };
                for way in linked {
                    scratch.ids.clone_from(&ids);
                    scratch.pairs.clone_from(&pairs);
                    link(&mut scratch);
                    way(&table, &mut scratch);
                    let got: Vec<u32> = linked_ids(&scratch.list).collect();
                    assert_eq!(got, wanted);
                }
            }
        }
        assert!(heap_only > 100, "the shuffled tables are to need the heap");
    }
}
