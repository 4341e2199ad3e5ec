//! One window of text to the bytes of its ids, without knowing what came before it.
use super::Layout;
use crate::encode::moved;
use crate::{Encoder, Error, Part, SpecialTokens};

/// What a window of text became. `bytes`, the ids as they stand in the file, lack only the id to be appended to a
/// document that began in an earlier window and has no text in this one (`closes`).
#[derive(Debug, Default)]
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) tokens: u64,
    pub(super) largest_id: Option<u32>,
    pub(super) text_bytes: u64,
    /// Where documents end, in tokens from the window's start.
    pub(super) ends: Vec<u64>,
    /// The window begins with a separator.
    pub(super) closes: bool,
    /// There is text behind the last separator.
    pub(super) open: bool,
}

/// Encodes `text`, whose first byte is byte `start` of its file. `ids` and `bytes` are memory to be used again.
pub(super) fn encode_window(
    encoder: &mut Encoder,
    separator: &SpecialTokens,
    layout: &Layout,
    (text, start): (&[u8], usize),
    ids: &mut Vec<u32>,
    mut bytes: Vec<u8>,
) -> Result<Encoded, Error> {
    let mut encoded = Encoded::default();
    let mut at = 0;
    ids.clear();
    for part in separator.split(text) {
        match part {
            Part::Text(text) => {
                encoder.encode_ordinary(text, ids).map_err(|error| moved(error, start + at))?;
                encoded.text_bytes += text.len() as u64;
                encoded.open = true;
                at += text.len();
            }
            Part::Special(_) => {
                if encoded.open {
                    ids.extend(layout.append);
                    encoded.ends.push(ids.len() as u64);
                } else {
                    encoded.closes |= at == 0;
                }
                encoded.open = false;
                at += separator.longest();
            }
        }
    }
    bytes.clear();
    write_ids(ids, layout.wide, &mut bytes);
    let (tokens, largest_id) = (ids.len() as u64, ids.iter().max().copied());
    Ok(Encoded { bytes, tokens, largest_id, ..encoded })
}

/// Appends ids as they stand in a file.
pub(super) fn write_ids(ids: &[u32], wide: bool, bytes: &mut Vec<u8>) {
    let before = bytes.len();
    bytes.resize(before + ids.len() * if wide { 4 } else { 2 }, 0);
    let bytes = &mut bytes[before..];
    if wide {
        bytes.chunks_exact_mut(4).zip(ids).for_each(|(bytes, id)| bytes.copy_from_slice(&id.to_le_bytes()));
    } else {
        let narrow = |id: &u32| (*id as u16).to_le_bytes();
        bytes.chunks_exact_mut(2).zip(ids).for_each(|(bytes, id)| bytes.copy_from_slice(&narrow(id)));
    }
}
