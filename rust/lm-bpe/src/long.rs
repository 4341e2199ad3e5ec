//! A very long pretoken, a window at a time: memory and time per byte stay those of one window.
//!
//! Tokens in a row are the encoding of their bytes if and only if every two neighbours are the encoding of theirs: a
//! merge across a boundary would have to come first somewhere, and it would come first between the two alone as well,
//! where nothing else is lower. So two encodings of overlapping windows that share a token may be joined at it: every
//! two neighbours of the whole are then neighbours in one of the two.

/// Bytes in a window: what merging one needs stays near the processor.
pub(crate) const WINDOW: usize = 1 << 12;

/// Appends the ids of `pretoken`. `merge(bytes, ids)` appends those of a window; `length(id)` is a token's in bytes.
/// The next window begins at a token's start in the last quarter of the one before. If the two share no token, all
/// is merged at once. Where `stop()` holds it ends early, with the ids of the beginning. O(n), for a text whose windows fall into step; else as `merge`.
pub(crate) fn merge_long(
    pretoken: &[u8],
    window: usize,
    mut merge: impl FnMut(&[u8], &mut Vec<u32>),
    length: impl Fn(u32) -> usize,
    stop: impl Fn() -> bool,
    out: &mut Vec<u32>,
) {
    let before = out.len();
    let end_of = |start: usize| pretoken.len().min(start + window);
    let (mut now, mut next) = (Vec::new(), Vec::new());
    let mut end = end_of(0);
    merge(&pretoken[..end], &mut now);
    let (mut first, mut at) = (0, 0); // the first token of `now` that is not in `out`, and where it begins
    while end < pretoken.len() && !stop() {
        let (mut left, mut left_at) = (first, at);
        while left < now.len() && left_at + window / 4 < end {
            left_at += length(now[left]);
            left += 1;
        }
        let start = left_at;
        end = end_of(start);
        next.clear();
        merge(&pretoken[start..end], &mut next);
        let (mut right, mut right_at) = (0, start);
        while left < now.len() && right < next.len() && (left_at, now[left]) != (right_at, next[right]) {
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
        if left == now.len() || right == next.len() {
            out.truncate(before);
            return merge(pretoken, out);
        }
        out.extend_from_slice(&now[first..left]);
        (first, at) = (right, right_at);
        std::mem::swap(&mut now, &mut next);
    }
    out.extend_from_slice(&now[first..]);
}
