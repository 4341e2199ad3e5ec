//! One window of text to the bytes of its ids, without knowing what came before it.
use std::path::Path;

use super::super::error::wrong;
use super::Layout;
use super::reader::Window;
use crate::encode::moved;
use crate::ids::{Ids, Packed};
use crate::json_lines::document;
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

/// Encodes a window. `bytes` are memory to be used again.
pub(super) fn encode_window(
    encoder: &mut Encoder,
    separator: &SpecialTokens,
    layout: &Layout,
    window: &Window<'_>,
    bytes: Vec<u8>,
) -> Result<Encoded, Error> {
    let mut ids = Packed::new(layout.wide, bytes);
    let encoded = match &layout.field {
        None => encode_text(encoder, separator, layout, (&window.memory.text, window.start), &mut ids)
            .map_err(|error| in_file(window.source, "", error))?,
        Some(field) => encode_lines(encoder, layout, field, window, &mut ids)?,
    };
    let (tokens, largest_id) = (ids.len() as u64, ids.largest());
    Ok(Encoded { bytes: ids.into_bytes(), tokens, largest_id, ..encoded })
}

/// Text with separators, whose first byte is byte `start` of its file.
fn encode_text(
    encoder: &mut Encoder,
    separator: &SpecialTokens,
    layout: &Layout,
    (text, start): (&[u8], usize),
    ids: &mut Packed,
) -> Result<Encoded, Error> {
    let mut encoded = Encoded::default();
    let mut at = 0;
    for part in separator.split(text) {
        match part {
            Part::Text(text) => {
                encoder.encode_into(text, ids).map_err(|error| moved(error, start + at))?;
                encoded.text_bytes += text.len() as u64;
                encoded.open = true;
                at += text.len();
            }
            Part::Special(_) => {
                if encoded.open {
                    ids.add(layout.append.as_slice());
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
    ids: &mut Packed,
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
        encoder.encode_into(text.as_bytes(), ids).map_err(|error| in_file(window.source, &place(), error))?;
        encoded.text_bytes += text.len() as u64;
        ids.add(layout.append.as_slice());
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
