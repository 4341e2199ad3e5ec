//! One pretoken to ids: as long as a pair of neighbours has a rank, merge the pair of the lowest, the leftmost first.
//!
//! Three ways to the same ids: `merge_short` where there are few bytes; for long pretokens, the ranks in ascending
//! order, each worked off from left to right in one go; and, should a vocabulary have a merge that ranks below one it
//! depends on, a heap. The two latter keep the ids in a linked list. O(n log n) at worst.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::merge_short::{MOST, RANKS, merge_short};
use crate::merge_table::{MergeTable, NO_RANK};

/// Working memory, kept between pretokens.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
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
    /// The rank of the pair that begins here.
    rank: u32,
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
    if pretoken.len() <= MOST && table.rank_bound() <= RANKS {
        return merge_short(table, pretoken, byte_ids, out);
    }
    link(table, pretoken, byte_ids, &mut scratch.list);
    if table.is_ascending() {
        by_rank(table, scratch);
    } else {
        by_heap(table, scratch);
    }
    out.extend(linked_ids(&scratch.list));
}

/// The ids of a linked list, which always begins with node 0.
fn linked_ids(list: &[Node]) -> impl Iterator<Item = u32> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let node = list.get(at as usize)?; // NONE is past every end
        at = node.next;
        Some(node.id)
    })
}

/// Links the bytes' ids. Places are 32-bit: no pretoken of 4 GiB fits in memory with its list.
fn link(table: &MergeTable, pretoken: &[u8], byte_ids: &[u32; 256], list: &mut Vec<Node>) {
    list.clear();
    list.extend(pretoken.iter().enumerate().map(|(at, &byte)| {
        let behind = pretoken.get(at + 1);
        let rank = behind.map_or(NO_RANK, |&right| table.get_bytes(byte, right));
        let next = behind.map_or(NONE, |_| at as u32 + 1);
        Node { id: byte_ids[usize::from(byte)], rank, next, previous: (at as u32).wrapping_sub(1) }
    }));
}

/// Merges the pair at `at`; calls `found(scratch, place, rank)` for the pairs this makes.
fn merge_at(table: &MergeTable, scratch: &mut Scratch, at: u32, mut found: impl FnMut(&mut Scratch, u32, u32)) {
    let list = &mut scratch.list;
    let Node { next: gone, rank, previous: before, .. } = list[at as usize];
    let merged = table.merged(rank);
    let after = list[gone as usize].next;
    list[gone as usize].rank = NO_RANK;
    let mut rank = NO_RANK;
    if after != NONE {
        list[after as usize].previous = at;
        rank = table.get(merged, list[after as usize].id);
    }
    list[at as usize] = Node { id: merged, rank, next: after, previous: before };
    found(scratch, at, rank);
    if before != NONE {
        let node = &mut scratch.list[before as usize];
        node.rank = table.get(node.id, merged);
        let rank = node.rank;
        found(scratch, before, rank);
    }
}

/// Ranks ascending. Exact where no merge makes a pair of a lower rank than its own: then all places of the lowest
/// rank are known when its turn comes, and what it makes comes later.
fn by_rank(table: &MergeTable, scratch: &mut Scratch) {
    scratch.places_of_rank.resize(table.rank_bound() as usize, NONE);
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
    use crate::merge_short::by_lowest;
    use crate::token_table::TokenTable;
    use crate::vocab::Merge;

    /// The definition: find the lowest rank, leftmost, merge it, start over.
    fn naive(table: &MergeTable, mut ids: Vec<u32>) -> Vec<u32> {
        loop {
            let best = ids.windows(2).enumerate().map(|(at, pair)| (table.get(pair[0], pair[1]), at));
            match best.min() {
                Some((rank, at)) if rank != NO_RANK => {
                    ids.splice(at..at + 2, [table.merged(rank)]);
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
        let tokens = TokenTable::new(&tokens).unwrap();
        let wide = random(4) == 0; // as if there were millions
        let table = if wide { MergeTable::wide(&merges, &tokens) } else { MergeTable::new(&merges, &tokens) };
        (table.unwrap(), lengths)
    }

    #[test]
    fn every_way_merges_as_the_definition_does() {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut byte_ids = [9; 256];
        for (id, byte) in (0..).zip(b"abc") {
            byte_ids[usize::from(*byte)] = id;
        }
        let mut scratch = Scratch::default();
        let (mut heap_only, mut in_windows) = (0, 0);
        for round in 0..600 {
            let (table, lengths) = random_table(&mut random, round % 2 == 1);
            heap_only += usize::from(!table.is_ascending());
            for _ in 0..20 {
                let length = 1 + random(MOST);
                let letters = 1 + random(3);
                let bytes: Vec<u8> = (0..length).map(|_| b"abc"[random(letters)]).collect();
                let ids_of = |bytes: &[u8]| bytes.iter().map(|&byte| byte_ids[usize::from(byte)]).collect();
                let wanted = naive(&table, ids_of(&bytes));
                let mut ids = Vec::new();
                merge_short(&table, &bytes, &byte_ids, &mut ids);
                assert_eq!(ids, wanted, "short");
                ids.clear();
                by_lowest(&table, &bytes, &byte_ids, &mut ids);
                assert_eq!(ids, wanted, "short, on every processor");
                let window = |bytes: &[u8], out: &mut Vec<u32>| out.extend(naive(&table, ids_of(bytes)));
                let mut joined = vec![9];
                if merge_long(&bytes, 4 + random(20), window, |id| lengths[id as usize], || false, &mut joined) {
                    assert_eq!(joined[1..], wanted, "windows");
                    in_windows += usize::from(length > 24);
                } else {
                    assert_eq!(joined, [9]);
                }
                let linked: &[fn(&MergeTable, &mut Scratch)] =
                    if table.is_ascending() { &[by_heap, by_rank] } else { &[by_heap] };
                for way in linked {
                    link(&table, &bytes, &byte_ids, &mut scratch.list);
                    way(&table, &mut scratch);
                    let got: Vec<u32> = linked_ids(&scratch.list).collect();
                    assert_eq!(got, wanted);
                }
            }
        }
        assert!(heap_only > 100, "the shuffled tables are to need the heap");
        assert!(in_windows > 1000, "most windows are to share a token");
    }
}
