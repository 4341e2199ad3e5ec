//! Which merges a vocabulary really uses.
//!
//! Whatever text a token turns up in, the merges inside its span run just as they do when its bytes are encoded
//! alone: no merge crosses the span before the token is whole, and the pair of lowest rank in the span does not
//! depend on what lies outside. So every token is made by at most one pair, always the same: the last two pieces
//! of its own bytes. That pair is its *live* merge; a token without one can only be found as a whole pretoken.
//!
//! Two facts follow. A rank file, which has no merges, implies exactly one list of them. And two files, one of
//! which lists every way to split a token (as Llama 3's `tokenizer.json` does), give the same ids if and only if
//! their live merges agree, which is what the fingerprint compares.
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::{Merge, Vocabulary};

/// What a pair becomes, and its rank.
type Table = HashMap<(u32, u32), (u32, u32)>;

/// The merges that tiktoken's rule implies: among neighbours whose bytes, joined, are a token, the token of lowest
/// id first. In order of the ids they make. O(total bytes x log of the longest token).
pub fn merges_of_ranks(tokens: &[(u32, Vec<u8>)]) -> Vec<Merge> {
    let single = single_bytes(tokens.iter().map(|(id, bytes)| (*id, bytes.as_slice())));
    let mut shortest_first: Vec<_> = tokens.iter().filter(|(_, bytes)| bytes.len() > 1).collect();
    shortest_first.sort_by_key(|(id, bytes)| (bytes.len(), *id));
    let mut table = Table::new();
    let mut merges = Vec::new();
    // By the time a token's turn comes, the live merges of everything inside it are in the table.
    for (id, bytes) in shortest_first {
        if let [left, right] = merge_all(bytes, &single, &table)[..] {
            table.insert((left, right), (*id, *id));
            merges.push(Merge { left, right, merged: *id });
        }
    }
    merges.sort_by_key(|merge| merge.merged);
    merges
}

/// The merges of a vocabulary that make a token in some text, in order of rank.
pub fn live_merges(vocabulary: &Vocabulary) -> Vec<Merge> {
    let ordinary = || vocabulary.tokens().filter(|&(id, _)| !vocabulary.is_special(id));
    live_of_listed(ordinary, vocabulary.merges())
}

/// Whether finding a whole pretoken among the tokens first ever changes ids: only if it is asked for, and some token
/// is made by no merge.
pub fn whole_tokens_matter(vocabulary: &Vocabulary) -> bool {
    vocabulary.ignore_merges() && {
        let made = live_merges(vocabulary).len();
        made + 256 + vocabulary.special_tokens().len() < vocabulary.len()
    }
}

/// The live ones of `listed`, which are in order of rank, over the given tokens.
pub(super) fn live_of_listed<'a, I: Iterator<Item = (u32, &'a [u8])>>(
    tokens: impl Fn() -> I,
    listed: &[Merge],
) -> Vec<Merge> {
    let single = single_bytes(tokens());
    let table: Table =
        listed.iter().enumerate().map(|(rank, m)| ((m.left, m.right), (rank as u32, m.merged))).collect();
    let mut live: Vec<(u32, Merge)> = tokens()
        .filter(|(_, bytes)| bytes.len() > 1)
        .filter_map(|(id, bytes)| {
            let (left, right) = last_pair(id, bytes, &single, &table)?;
            Some((table[&(left, right)].0, Merge { left, right, merged: id }))
        })
        .collect();
    live.sort_unstable_by_key(|(rank, _)| *rank);
    live.into_iter().map(|(_, merge)| merge).collect()
}

fn single_bytes<'a>(tokens: impl Iterator<Item = (u32, &'a [u8])>) -> [Option<u32>; 256] {
    let mut single = [None; 256];
    for (id, bytes) in tokens {
        if let [byte] = bytes {
            single[usize::from(*byte)] = Some(id);
        }
    }
    single
}

/// The last two pieces that merging leaves of a token's bytes, if they are a pair that makes it.
fn last_pair(id: u32, bytes: &[u8], single: &[Option<u32>; 256], table: &Table) -> Option<(u32, u32)> {
    match merge_all(bytes, single, table)[..] {
        [left, right] => {
            let makes_it = table.get(&(left, right)).is_some_and(|&(_, merged)| merged == id);
            makes_it.then_some((left, right))
        }
        _ => None,
    }
}

/// Merges the bytes of a token by lowest rank, leftmost first, until two pieces are left or no pair merges.
/// O(n log n) for n bytes.
fn merge_all(bytes: &[u8], single: &[Option<u32>; 256], table: &Table) -> Vec<u32> {
    const GONE: u32 = u32::MAX;
    let Some(mut pieces) = bytes.iter().map(|&byte| single[usize::from(byte)]).collect::<Option<Vec<u32>>>() else {
        return Vec::new();
    };
    let end = pieces.len();
    let mut next: Vec<usize> = (1..=end).collect();
    let mut previous: Vec<usize> = (0..end).map(|at| at.wrapping_sub(1)).collect();
    let mut queue = BinaryHeap::new();
    let candidate = |pieces: &[u32], left: usize, right: usize| {
        let pair = (pieces[left], pieces[right]);
        table.get(&pair).map(|&(rank, merged)| Reverse((rank, left, right, pair, merged)))
    };
    queue.extend((1..end).filter_map(|right| candidate(&pieces, right - 1, right)));
    let mut left_over = end;
    while left_over > 2 {
        let Some(Reverse((_, left, right, pair, merged))) = queue.pop() else { break };
        if (pieces[left], pieces[right]) != pair || next[left] != right {
            continue; // one of the two was merged with its other neighbour meanwhile
        }
        pieces[left] = merged;
        pieces[right] = GONE;
        left_over -= 1;
        let after = next[right];
        next[left] = after;
        if after < end {
            previous[after] = left;
            queue.extend(candidate(&pieces, left, after));
        }
        if left > 0 {
            queue.extend(candidate(&pieces, previous[left], left));
        }
    }
    pieces.retain(|&piece| piece != GONE);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All bytes, then the given tokens as ids from 256 on.
    fn ranks(tokens: &[&str]) -> Vec<(u32, Vec<u8>)> {
        let bytes = (0..=255u8).map(|byte| vec![byte]);
        let all = bytes.chain(tokens.iter().map(|token| token.as_bytes().to_vec()));
        all.enumerate().map(|(id, token)| (id as u32, token)).collect()
    }

    fn as_text(merges: &[Merge], tokens: &[(u32, Vec<u8>)]) -> Vec<String> {
        let text = |id: u32| String::from_utf8_lossy(&tokens[id as usize].1).into_owned();
        merges.iter().map(|m| format!("{}+{}", text(m.left), text(m.right))).collect()
    }

    #[test]
    fn a_token_is_made_by_its_last_two_pieces() {
        let tokens = ranks(&["ab", "abc", "bc", "abcd"]);
        assert_eq!(as_text(&merges_of_ranks(&tokens), &tokens), ["a+b", "ab+c", "b+c", "abc+d"]);
    }

    #[test]
    fn a_token_that_no_merges_reach_has_no_merge() {
        let tokens = ranks(&["bc", "ab", "abcx"]);
        assert_eq!(as_text(&merges_of_ranks(&tokens), &tokens), ["b+c", "a+b"]);
    }

    #[test]
    fn a_token_of_lower_rank_than_its_parts_is_still_reached() {
        let tokens = ranks(&["abc", "ab"]);
        assert_eq!(as_text(&merges_of_ranks(&tokens), &tokens), ["ab+c", "a+b"]);
    }

    #[test]
    fn overlapping_pairs_merge_from_the_left() {
        let tokens = ranks(&["aa", "aaa"]);
        assert_eq!(as_text(&merges_of_ranks(&tokens), &tokens), ["a+a", "aa+a"]);
    }

    #[test]
    fn of_all_ways_to_split_a_token_only_one_is_live() {
        let tokens = ranks(&["ab", "bc", "abc"]);
        let merge = |left: u32, right: u32, merged| Merge { left, right, merged };
        let (a, b, c) = (u32::from(b'a'), u32::from(b'b'), u32::from(b'c'));
        let listed = [merge(a, b, 256), merge(b, c, 257), merge(a, 257, 258), merge(256, c, 258)];
        let live = live_of_listed(|| tokens.iter().map(|(id, bytes)| (*id, bytes.as_slice())), &listed);
        assert_eq!(live, [listed[0], listed[1], listed[3]]);
    }
}
