//! One window of text to the bytes of its ids, without knowing what came before it.
use std::path::Path;

use super::super::error::wrong;
use super::Layout;
use super::lines::document;
use super::reader::Window;
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

/// Encodes a window. `ids` and `bytes` are memory to be used again.
pub(super) fn encode_window(
    encoder: &mut Encoder,
    separator: &SpecialTokens,
    layout: &Layout,
    window: &Window<'_>,
    ids: &mut Vec<u32>,
    mut bytes: Vec<u8>,
) -> Result<Encoded, Error> {
    ids.clear();
    let encoded = match &layout.field {
        None => encode_text(encoder, separator, layout, (&window.memory.text, window.start), ids)
            .map_err(|error| in_file(window.source, "", error))?,
        Some(field) => encode_lines(encoder, layout, field, window, ids)?,
    };
    bytes.clear();
    write_ids(ids, layout.wide, &mut bytes);
    let (tokens, largest_id) = (ids.len() as u64, ids.iter().max().copied());
    Ok(Encoded { bytes, tokens, largest_id, ..encoded })
}

/// Text with separators, whose first byte is byte `start` of its file.
fn encode_text(
    encoder: &mut Encoder,
    separator: &SpecialTokens,
    layout: &Layout,
    (text, start): (&[u8], usize),
    ids: &mut Vec<u32>,
) -> Result<Encoded, Error> {
    let mut encoded = Encoded::default();
    let mut at = 0;
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
    Ok(encoded)
}

/// JSON lines, each a document; blank ones are none.
fn encode_lines(
    encoder: &mut Encoder,
    layout: &Layout,
    field: &str,
    window: &Window<'_>,
    ids: &mut Vec<u32>,
) -> Result<Encoded, Error> {
    let mut encoded = Encoded::default();
    for (number, line) in (window.line..).zip(window.memory.text.split(|&byte| byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = || format!("line {number}");
        let text = document(line, field).map_err(|problem| wrong(window.source, place(), problem))?;
        if text.is_empty() {
            continue;
        }
        encoder.encode_ordinary(text.as_bytes(), ids).map_err(|error| in_file(window.source, &place(), error))?;
        encoded.text_bytes += text.len() as u64;
        ids.extend(layout.append);
        encoded.ends.push(ids.len() as u64);
    }
    Ok(encoded)
}

/// Names the file, and the place in it, in an error about its text.
fn in_file(source: &Path, place: &str, error: Error) -> Error {
    match error {
        Error::UnknownCharacter { .. } | Error::NotUtf8 { .. } => wrong(source, place, error.to_string()),
        other => other,
    }
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
