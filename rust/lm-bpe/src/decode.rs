//! Ids to bytes, at once or as they come; a stream gives only whole characters.

use std::sync::Arc;

use crate::error::Error;
use crate::token_table::Short;
use crate::vocab::Vocabulary;

/// So few ids are not worth a table of all short tokens.
const FEW: usize = 64;

impl Vocabulary {
    /// The bytes of all ids in a row, special tokens' text included.
    /// Fails with [`Error::UnknownId`] at the first id that is no token. O(bytes).
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(5 * ids.len());
        self.decode_onto(ids, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Appends the bytes of more ids to `bytes`; the first is number `position` of all, which errors tell.
    pub fn decode_onto(&self, ids: &[u32], position: usize, bytes: &mut Vec<u8>) -> Result<(), Error> {
        const MANY: usize = 1 << 10; // ids whose bytes stay near the processor until they are copied
        const ROOM: usize = size_of::<Short>();
        if ids.len() < FEW {
            for (position, &id) in (position..).zip(ids) {
                bytes.extend_from_slice(self.token(id, position)?);
            }
            return Ok(());
        }
        let table = self.short();
        let mut block = [0; ROOM * MANY];
        for (index, ids) in ids.chunks(MANY).enumerate() {
            let mut written = 0;
            for (place, &id) in ids.iter().enumerate() {
                let short = table.get(id as usize).unwrap_or(&[0; ROOM]);
                let length = usize::from(short[ROOM - 1]);
                if length > 0 {
                    block[written..written + ROOM].copy_from_slice(short); // what is behind its end comes later
                    written += length;
                } else {
                    bytes.extend_from_slice(&block[..written]);
                    written = 0;
                    bytes.extend_from_slice(self.token(id, position + index * MANY + place)?);
                }
            }
            bytes.extend_from_slice(&block[..written]);
        }
        Ok(())
    }

    fn token(&self, id: u32, position: usize) -> Result<&[u8], Error> {
        self.bytes(id).ok_or(Error::UnknownId { id, position, bound: self.id_bound() })
    }
}

/// Text from ids as they come. All that it gives, in a row, is `String::from_utf8_lossy` of all bytes: a character
/// comes out when its last byte is in, and bytes that cannot become one as U+FFFD as soon as that is certain.
#[derive(Debug, Clone)]
pub struct DecodeStream {
    vocabulary: Arc<Vocabulary>,
    /// The start of a character, at most 3 bytes, between calls.
    pending: Vec<u8>,
    position: usize,
}

impl DecodeStream {
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary, pending: Vec::new(), position: 0 }
    }

    /// The text that `id` completes; empty while a character is unfinished.
    /// Fails with [`Error::UnknownId`], with nothing lost: the stream goes on as if the id had not come.
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        let token = self.vocabulary.token(id, self.position)?;
        self.position += 1;
        self.pending.extend_from_slice(token);
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let at_the_end = done + chunk.invalid().len() == self.pending.len();
            if chunk.invalid().is_empty() || (at_the_end && may_grow(chunk.invalid())) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done += chunk.invalid().len();
        }
        self.pending.drain(..done);
        Ok(text)
    }

    /// What is left: U+FFFD if a character never ended, else nothing. The stream is then as new.
    pub fn finish(&mut self) -> String {
        self.position = 0;
        let pending = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&pending).into_owned()
    }
}

/// Whether more bytes could make these, which are no character, the start of one.
fn may_grow(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
