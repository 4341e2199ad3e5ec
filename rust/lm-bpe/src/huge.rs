//! A large array in pages of 2 MiB, where Linux has them to give: the cache of pretokens is read at random places, and with
//! pages of 4 KiB much of the time is waiting for their addresses (docs/performance.md of lm-tokenizer has figures).

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

const PAGE: usize = 1 << 21;

/// An array of `N` values that belongs to its holder, as a `Box` does.
pub(crate) struct Huge<T, const N: usize> {
    array: NonNull<[T; N]>,
    owned: PhantomData<[T; N]>,
}

#[allow(
    unsafe_code,
    reason = "memory must be asked for in large pages before it is first written; see docs/performance.md"
)]
impl<T: Copy, const N: usize> Huge<T, N> {
    const LAYOUT: Layout = match Layout::new::<[T; N]>().align_to(PAGE) {
        Ok(layout) => layout,
        Err(_) => panic!("no such array fits into memory"),
    };

    /// `N` times `value`.
    pub(crate) fn new(value: T) -> Self {
        const { assert!(size_of::<[T; N]>() > 0) }
        // SAFETY: the size is not 0.
        let Some(array) = NonNull::new(unsafe { alloc(Self::LAYOUT) }.cast::<[T; N]>()) else {
            handle_alloc_error(Self::LAYOUT)
        };
        #[cfg(target_os = "linux")]
        {
            use std::ffi::{c_int, c_void};
            unsafe extern "C" {
                fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
            }
            const HUGE_PAGES: c_int = 14; // MADV_HUGEPAGE
            // SAFETY: the range is this array's alone, and the advice changes nothing that can be read there. A refusal is fine.
            unsafe { madvise(array.as_ptr().cast(), Self::LAYOUT.size(), HUGE_PAGES) };
        }
        for index in 0..N {
            // SAFETY: the place is inside the array, and of its type.
            unsafe { array.cast::<T>().add(index).write(value) };
        }
        Self { array, owned: PhantomData }
    }
}

#[allow(unsafe_code, reason = "the other half of `new`")]
impl<T, const N: usize> Drop for Huge<T, N> {
    fn drop(&mut self) {
        let layout = Layout::new::<[T; N]>().align_to(PAGE).expect("as it was made");
        // SAFETY: made with this layout and never given away; its values are `Copy`, so nothing is to be dropped.
        unsafe { dealloc(self.array.as_ptr().cast(), layout) };
    }
}

impl<T, const N: usize> Deref for Huge<T, N> {
    type Target = [T; N];

    #[inline(always)]
    #[allow(unsafe_code, reason = "the array behind the pointer")]
    fn deref(&self) -> &[T; N] {
        // SAFETY: it was written whole when it was made, and lives as long as this.
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

    #[test]
    fn it_is_an_array_that_can_be_written_and_sent_to_another_thread() {
        let mut array = Huge::<[u64; 8], { 1 << 15 }>::new([7; 8]);
        assert_eq!(array.as_ptr().addr() % PAGE, 0);
        array[1 << 14][3] = 8;
        let array = std::thread::spawn(move || array).join().unwrap();
        assert_eq!(array.iter().flatten().sum::<u64>(), (7 << 18) + 1);
    }
}
