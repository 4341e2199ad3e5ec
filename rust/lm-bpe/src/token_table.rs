//! Id to bytes, as slices of one arena, and bytes to id, by an open hash table.

use std::sync::OnceLock;

use crate::error::Error;
use crate::hash::hash_bytes;

const EMPTY: u32 = u32::MAX;

/// The bytes of a token of up to 15 bytes and, in the last place, their number; 0 there for any other id.
/// To copy all 16 is faster than to copy as many as there are.
pub(crate) type Short = [u8; 16];

/// A token's place in the arena; no token is empty, so length 0 is an id without a token.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    length: u32,
}

/// Both directions of a vocabulary. Special tokens have bytes but are not found by them.
#[derive(Debug, Clone)]
pub(crate) struct TokenTable {
    arena: Vec<u8>,
    spans: Vec<Span>,
    /// Ids by the hash of their bytes, linear probing, at most half full.
    slots: Vec<u32>,
    ordinary: usize,
    /// By id; made when many ids are to be decoded.
    short: OnceLock<Vec<Short>>,
}

impl TokenTable {
    /// Ids are expected to be at most `MAX_ID`, which bounds `spans`.
    pub(crate) fn new(tokens: &[(u32, Vec<u8>)]) -> Result<Self, Error> {
        let bytes = tokens.iter().map(|token| token.1.len()).sum::<usize>();
        if u32::try_from(bytes).is_err() {
            return Err(Error::TooMuchText { what: "bytes of tokens" });
        }
        let mut table = Self {
            arena: Vec::with_capacity(bytes),
            spans: Vec::new(),
            slots: vec![EMPTY; (2 * tokens.len()).next_power_of_two()],
            ordinary: tokens.len(),
            short: OnceLock::new(),
        };
        for (id, bytes) in tokens {
            if bytes.is_empty() {
                return Err(Error::EmptyToken { id: *id });
            }
            if table.bytes(*id).is_some() {
                return Err(Error::DuplicateId { id: *id });
            }
            match table.find(bytes) {
                Ok(first) => return Err(Error::DuplicateToken { bytes: bytes.clone(), first, second: *id }),
                Err(slot) => table.slots[slot] = *id,
            }
            table.add_unlisted(*id, bytes);
        }
        Ok(table)
    }

    /// Gives `id` its bytes without making it findable by them.
    pub(crate) fn add_unlisted(&mut self, id: u32, bytes: &[u8]) {
        let id = id as usize;
        if id >= self.spans.len() {
            self.spans.resize(id + 1, Span::default());
        }
        self.spans[id] = Span { start: self.arena.len() as u32, length: bytes.len() as u32 };
        self.arena.extend_from_slice(bytes);
    }

    pub(crate) fn ordinary(&self) -> usize {
        self.ordinary
    }

    pub(crate) fn id_bound(&self) -> u32 {
        self.spans.len() as u32
    }

    pub(crate) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let span = self.spans.get(id as usize).filter(|span| span.length > 0)?;
        Some(&self.arena[span.start as usize..(span.start + span.length) as usize])
    }

    /// The short tokens by id.
    pub(crate) fn short(&self) -> &[Short] {
        self.short.get_or_init(|| (0..self.id_bound()).map(|id| short(self.bytes(id).unwrap_or_default())).collect())
    }

    pub(crate) fn id_of(&self, bytes: &[u8]) -> Option<u32> {
        self.find(bytes).ok()
    }

    /// The id of `bytes`, or the free slot where it belongs.
    fn find(&self, bytes: &[u8]) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash_bytes(bytes) as usize & mask;
        loop {
            match self.slots[slot] {
                EMPTY => return Err(slot),
                id if self.bytes(id) == Some(bytes) => return Ok(id),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

fn short(token: &[u8]) -> Short {
    let mut short = [0; size_of::<Short>()];
    if token.len() < short.len() {
        short[..token.len()].copy_from_slice(token);
        short[size_of::<Short>() - 1] = token.len() as u8;
    }
    short
}
