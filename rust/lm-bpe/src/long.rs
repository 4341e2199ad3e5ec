//! A very long pretoken, a window at a time: memory and time per byte stay those of one window.
//!
//! Tokens in a row are the encoding of their bytes if and only if every two neighbours are the encoding of theirs: a
//! merge across a boundary would have to come first somewhere, and it would come first between the two alone as well,
//! where nothing else is lower. So two encodings of overlapping windows that share a token may be joined at it: every
//! two neighbours of the whole are then neighbours in one of the two.

use crate::merge_short::MOST;

/// Bytes in a window: first as many as `merge_short` takes; where those do not fall into step, in the ids of one letter a
/// thousand times, as many as stay near the processor.
pub(crate) const WINDOWS: [usize; 2] = [MOST, 1 << 12];

/// Appends the ids of `pretoken`. `merge(bytes, ids)` appends those of a window; `length(id)` is a token's in bytes.
/// The next window begins at a token's start in the last quarter of the one before, or earlier if the two share no token. If they
/// share none then, nothing is appended, and the answer is `false`. Where `stop()` holds it ends early, with the ids of the
/// beginning. Time: that of `merge` for 4/3 of the bytes, as a rule.
pub(crate) fn merge_long(
    pretoken: &[u8],
    window: usize,
    mut merge: impl FnMut(&[u8], &mut Vec<u32>),
    length: impl Fn(u32) -> usize,
    stop: impl Fn() -> bool,
    out: &mut Vec<u32>,
) -> bool {
    let before = out.len();
    let end_of = |start: usize| pretoken.len().min(start + window);
    let (mut now, mut next) = (Vec::new(), Vec::new());
    let mut end = end_of(0);
    merge(&pretoken[..end], &mut now);
    let (mut first, mut at) = (0, 0); // the first token of `now` that is not in `out`, and where it begins
    while end < pretoken.len() && !stop() {
        let mut shared = None;
        let mut next_end = end;
        for overlap in [window / 4, window / 4 * 3] {
            let (mut left, mut left_at) = (first, at);
            while left < now.len() && left_at + overlap < end {
                left_at += length(now[left]);
                left += 1;
            }
            next_end = end_of(left_at);
            next.clear();
            merge(&pretoken[left_at..next_end], &mut next);
            shared = meet((&now, left, left_at), (&next, left_at), &length);
            if shared.is_some() {
                break;
            }
        }
        let Some((left, right, place)) = shared else {
            out.truncate(before);
            return false;
        };
        out.extend_from_slice(&now[first..left]);
        (first, at, end) = (right, place, next_end);
        std::mem::swap(&mut now, &mut next);
    }
    out.extend_from_slice(&now[first..]);
    true
}

/// The first token that two windows share: its places in both, and in the text. The first window is looked through from its token
/// `left`, which begins at `left_at`; the second begins at `right_at`.
fn meet(
    (now, mut left, mut left_at): (&[u32], usize, usize),
    (next, mut right_at): (&[u32], usize),
    length: impl Fn(u32) -> usize,
) -> Option<(usize, usize, usize)> {
    let mut right = 0;
    while left < now.len() && right < next.len() {
        if (left_at, now[left]) == (right_at, next[right]) {
            return Some((left, right, left_at));
        }
        let (left_first, right_first) = (left_at <= right_at, right_at <= left_at);
        if left_first {
            left_at += length(now[left]);
            left += 1;
        }
        if right_first {
            right_at += length(next[right]);
            right += 1;
        }
    }
    None
}
