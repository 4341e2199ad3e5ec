//! A pretoken of up to 64 bytes to ids: the ranks of all pairs side by side, the lowest found by vectors, and a bit for
//! each id that is still there, so that nothing moves when two become one.
//!
//! A rank and its place are one number, so the minimum is the leftmost of the lowest. It takes the same few steps
//! whatever the ranks are, where a loop that remembers the lowest so far guesses wrong at every other pretoken.

use crate::merge_table::MergeTable;

/// Places, as many as a word has bits.
pub(crate) const MOST: usize = 64;
const PLACE_BITS: u32 = MOST.ilog2();
/// Ranks below this leave room for a place.
pub(crate) const RANKS: u32 = u32::MAX >> PLACE_BITS;
/// Numbers from here on are of pairs that do not merge.
const NOTHING: u32 = RANKS << PLACE_BITS;
/// Numbers that are compared at a time.
const LANES: usize = 16;

/// Appends the ids of 1 to [`MOST`] bytes; the table's ranks are below [`RANKS`].
pub(crate) fn merge_short(table: &MergeTable, bytes: &[u8], byte_ids: &[u32; 256], out: &mut Vec<u32>) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") {
        // SAFETY: the processor has what the function is made for.
        #[allow(unsafe_code, reason = "see the figures in docs/performance.md")]
        return unsafe { avx2(table, bytes, byte_ids, out) };
    }
    by_lowest(table, bytes, byte_ids, out);
}

/// [`by_lowest`] as it is compiled for processors with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn avx2(table: &MergeTable, bytes: &[u8], byte_ids: &[u32; 256], out: &mut Vec<u32>) {
    by_lowest(table, bytes, byte_ids, out);
}

/// The same on every processor.
#[inline(always)]
pub(crate) fn by_lowest(table: &MergeTable, bytes: &[u8], byte_ids: &[u32; 256], out: &mut Vec<u32>) {
    match bytes.len() {
        0..=16 => of_width::<16>(table, bytes, byte_ids, out),
        17..=32 => of_width::<32>(table, bytes, byte_ids, out),
        _ => of_width::<MOST>(table, bytes, byte_ids, out),
    }
}

#[inline(always)]
fn of_width<const W: usize>(table: &MergeTable, bytes: &[u8], byte_ids: &[u32; 256], out: &mut Vec<u32>) {
    let mut ids = [0; W];
    for (id, &byte) in ids.iter_mut().zip(bytes) {
        *id = byte_ids[usize::from(byte)];
    }
    let mut pairs = [u32::MAX; W]; // for each id the number of the pair that it begins
    for (at, pair) in bytes.windows(2).enumerate() {
        pairs[at % W] = number(table.get_bytes(pair[0], pair[1]), at);
    }
    let mut alive = u64::MAX >> (MOST - bytes.len());
    loop {
        let lowest = minimum(&pairs);
        if lowest >= NOTHING {
            break;
        }
        let (at, merged) = (lowest as usize % W, table.merged(lowest >> PLACE_BITS));
        let behind = alive & (!1 << at);
        let gone = behind.trailing_zeros() as usize % W;
        alive &= !(1 << gone);
        ids[at] = merged;
        let (after, before) = (behind & behind.wrapping_sub(1), alive & ((1 << at) - 1));
        let with_next = match after {
            0 => u32::MAX,
            _ => number(table.get(merged, ids[after.trailing_zeros() as usize % W]), at),
        };
        let (place, with_previous) = match before {
            0 => (W, u32::MAX),
            _ => {
                let place = before.ilog2() as usize;
                (place, number(table.get(ids[place % W], merged), place))
            }
        };
        // Every place is written, for vectors that are read where a part was just written wait for it: a third of the time.
        for (lane, pair) in (0..).zip(&mut pairs) {
            let new = if lane == at as u32 { with_next } else { *pair };
            let new = if lane == gone as u32 { u32::MAX } else { new };
            *pair = if lane == place as u32 { with_previous } else { new };
        }
    }
    while alive != 0 {
        out.push(ids[alive.trailing_zeros() as usize % W]);
        alive &= alive - 1;
    }
}

fn number(rank: u32, place: usize) -> u32 {
    rank << PLACE_BITS | place as u32
}

#[inline(always)]
fn minimum<const W: usize>(numbers: &[u32; W]) -> u32 {
    let mut lowest = [u32::MAX; LANES];
    for lanes in numbers.chunks_exact(LANES) {
        for (lowest, &number) in lowest.iter_mut().zip(lanes) {
            *lowest = (*lowest).min(number);
        }
    }
    lowest.into_iter().min().expect("there are lanes")
}
