//! Where the encoder's ids go: into an array, into the bytes of a file, or nowhere, where only their number is asked for.

/// Takes ids some at a time, while they are near.
pub(crate) trait Ids {
    /// Whether it looks at them; else they may be any, as many as there are.
    const KEPT: bool = true;

    fn add(&mut self, ids: &[u32]);
}

impl Ids for Vec<u32> {
    #[inline(always)]
    fn add(&mut self, ids: &[u32]) {
        self.extend_from_slice(ids);
    }
}

/// Their number.
impl Ids for usize {
    const KEPT: bool = false;

    #[inline(always)]
    fn add(&mut self, ids: &[u32]) {
        *self += ids.len();
    }
}

/// Ids as they stand in a file, little-endian u16 or u32.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    wide: bool,
    largest: u32,
}

impl Packed {
    /// None yet. `memory` is used again.
    pub(crate) fn new(wide: bool, mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self { bytes: memory, wide, largest: 0 }
    }

    /// Those that are there, of which this is the largest.
    pub(crate) fn onto(wide: bool, bytes: Vec<u8>, largest: Option<u32>) -> Self {
        Self { bytes, wide, largest: largest.unwrap_or(0) }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / if self.wide { 4 } else { 2 }
    }

    pub(crate) fn largest(&self) -> Option<u32> {
        (!self.bytes.is_empty()).then_some(self.largest)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Ids for Packed {
    #[inline(always)]
    fn add(&mut self, ids: &[u32]) {
        let before = self.bytes.len();
        self.bytes.resize(before + ids.len() * if self.wide { 4 } else { 2 }, 0);
        let bytes = &mut self.bytes[before..];
        if self.wide {
            bytes.chunks_exact_mut(4).zip(ids).for_each(|(bytes, id)| bytes.copy_from_slice(&id.to_le_bytes()));
        } else {
            let narrow = |id: &u32| (*id as u16).to_le_bytes();
            bytes.chunks_exact_mut(2).zip(ids).for_each(|(bytes, id)| bytes.copy_from_slice(&narrow(id)));
        }
        self.largest = ids.iter().fold(self.largest, |largest, &id| largest.max(id));
    }
}
