//! A hint to the processor that a place in memory is wanted soon. The cache of pretokens is larger than the
//! processor's own: without the hint most of the encoder's time is waiting for it. So is most of the trainer's, whose places lie far apart.
//!
//! Measured with GPT-2's vocabulary, warm, one processor: 100 MB of English in 440 ms without it, 380 ms with it. Training on 40 MB of
//! multilingual text, merges only: 2.6 times less with it than without.

/// Asks for the cache line of `slots[index]`; nothing if there is none, or on processors other than x86-64.
#[inline(always)]
pub(crate) fn prefetch<T>(slots: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(slot) = slots.get(index) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults, and the place is that of a live element; SSE belongs to every x86-64.
        #[allow(unsafe_code, reason = "see the figures at the top")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(slot).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slots, index);
}
