//! A large array in pages of 2 MiB, where Linux has them to give: the cache of pretokens is read at random places, and with
//! pages of 4 KiB much of the time is waiting for their addresses (docs/performance.md of lm-tokenizer has figures).

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

const PAGE: usize = 1 << 21;

/// A type of which bytes that are all 0 are a value.
///
/// # Safety
///
/// They must be.
#[allow(unsafe_code, reason = "what memory is when the system gives it")]
pub(crate) unsafe trait Zero: Copy {}

/// An array of `N` values that belongs to its holder, as a `Box` does.
pub(crate) struct Huge<T, const N: usize> {
    array: NonNull<[T; N]>,
    /// Where the memory begins that was asked for, with room to begin the array at a page.
    memory: NonNull<u8>,
    owned: PhantomData<[T; N]>,
}

#[allow(
    unsafe_code,
    reason = "memory must be asked for in large pages before it is first written; see docs/performance.md"
)]
impl<T: Zero, const N: usize> Huge<T, N> {
    /// `N` times the value whose bytes are 0. Pages are made as they are first used: a short text needs few of them.
    pub(crate) fn zeroed() -> Self {
        const { assert!(size_of::<[T; N]>() > 0 && PAGE.is_multiple_of(align_of::<T>())) }
        let layout = layout::<T, N>();
        // SAFETY: the size is not 0.
        let Some(memory) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: less than a page behind the beginning there is the array's size left.
        let array = unsafe { memory.add(memory.align_offset(PAGE) % PAGE) }.cast::<[T; N]>();
        #[cfg(all(target_os = "linux", not(miri)))] // Miri knows no advice
        {
            use std::ffi::{c_int, c_void};
            unsafe extern "C" {
                fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
            }
            const HUGE_PAGES: c_int = 14; // MADV_HUGEPAGE
            // SAFETY: the range is this array's alone, and the advice changes nothing that can be read there. A refusal is fine.
            unsafe { madvise(array.as_ptr().cast(), size_of::<[T; N]>(), HUGE_PAGES) };
        }
        Self { array, memory, owned: PhantomData }
    }
}

/// That of the memory. Of bytes: what asks for more than the usual alignment is not given as zeros by the system, but made so.
const fn layout<T, const N: usize>() -> Layout {
    match Layout::array::<u8>(size_of::<[T; N]>() + PAGE) {
        Ok(layout) => layout,
        Err(_) => panic!("no such array fits into memory"),
    }
}

#[allow(unsafe_code, reason = "the other half of `zeroed`")]
impl<T, const N: usize> Drop for Huge<T, N> {
    fn drop(&mut self) {
        // SAFETY: made with this layout and never given away; its values are `Copy`, so nothing is to be dropped.
        unsafe { dealloc(self.memory.as_ptr(), layout::<T, N>()) };
    }
}

impl<T, const N: usize> Deref for Huge<T, N> {
    type Target = [T; N];

    #[inline(always)]
    #[allow(unsafe_code, reason = "the array behind the pointer")]
    fn deref(&self) -> &[T; N] {
        // SAFETY: it was zeros when it was made, which are values, and lives as long as this.
        unsafe { self.array.as_ref() }
    }
}

impl<T, const N: usize> DerefMut for Huge<T, N> {
    #[inline(always)]
    #[allow(unsafe_code, reason = "the array behind the pointer")]
    fn deref_mut(&mut self) -> &mut [T; N] {
        // SAFETY: as above, and nobody else has it.
        unsafe { self.array.as_mut() }
    }
}

// SAFETY: it holds its values alone, as a `Box` does.
#[allow(unsafe_code, reason = "a pointer is neither by itself")]
unsafe impl<T: Send, const N: usize> Send for Huge<T, N> {}
// SAFETY: the same.
#[allow(unsafe_code, reason = "a pointer is neither by itself")]
unsafe impl<T: Sync, const N: usize> Sync for Huge<T, N> {}

impl<T, const N: usize> fmt::Debug for Huge<T, N> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "[{N} values]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY: they are numbers.
    #[allow(unsafe_code, reason = "as in the cache")]
    unsafe impl Zero for [u64; 8] {}

    #[test]
    fn it_is_an_array_that_can_be_written_and_sent_to_another_thread() {
        let mut array = Huge::<[u64; 8], { 1 << 15 }>::zeroed();
        assert_eq!(array.as_ptr().addr() % PAGE, 0);
        array[1 << 14][3] = 8;
        let array = std::thread::spawn(move || array).join().unwrap();
        assert_eq!(array.iter().flatten().sum::<u64>(), 8);
    }
}
