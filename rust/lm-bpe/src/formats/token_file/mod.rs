//! Raw files of ids: little-endian u16 or u32 in a row, no header. What nanoGPT, litgpt and OLMo read, and
//! `numpy.memmap`; what they hold is said elsewhere (`dataset.json`).
//!
//! [`encode`] turns text files of any size into one, a window of text at a time. A document ends at a separator, or
//! with its file. A long document is cut only where its pretokens allow it, so the ids are those of the whole.
//!
//! `reader` makes windows of the sources (of JSON lines: `json_lines`), `window` has what becomes of one, `sink` the file and
//! its facts; `pipeline` shares the work among threads.
mod pipeline;
mod reader;
mod sink;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::wrong;
use crate::threads::threads;
use crate::{EncoderPool, Error, Pattern, Progress, SpecialTokens};
use pipeline::Pipeline;
use sink::Sink;

/// What is written, and how documents are told apart.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// u32 instead of u16. Ids that do not fit into u16 are refused before anything is written.
    pub wide: bool,
    /// Text between documents, cut out. Without one each file is a document.
    pub separator: Option<String>,
    /// Sources are JSON lines: the text in this field of each line's object is a document. Not with a separator.
    pub field: Option<String>,
    /// An id to add after every document.
    pub append: Option<u32>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub tokens: u64,
    pub documents: u64,
    pub largest_id: Option<u32>,
    /// Bytes of text, separators left out.
    pub text_bytes: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
}

/// Encodes `sources` (`-` is standard input; `.gz` and `.zst` are unpacked) into `target` and, with `ends`, the place in tokens where each document
/// ends as little-endian u64. Both files appear whole, or not at all. Documents without text are left out, and special
/// tokens in text are ordinary text.
///
/// `progress` is given the bytes of the sources whose ids are written, and asked at least ten times a second.
pub fn encode(
    pool: &mut EncoderPool,
    sources: &[PathBuf],
    target: &Path,
    ends: Option<&Path>,
    layout: &Layout,
    progress: &mut Progress<'_>,
) -> Result<Written, Error> {
    let (encoders, stop) = pool.stoppable(threads(0));
    let vocabulary = Arc::clone(encoders[0].vocabulary());
    let bound = vocabulary.id_bound();
    if !layout.wide && bound > 1 << 16 {
        return Err(wrong(target, "", format!("u16 holds ids below 65536, but those here go up to {}", bound - 1)));
    }
    if layout.separator.is_some() && layout.field.is_some() {
        return Err(wrong(target, "", "JSON lines are documents by themselves; leave the separator out"));
    }
    let separator: Vec<(String, u32)> = layout.separator.iter().map(|text| (text.clone(), 0)).collect();
    let separator = SpecialTokens::new(&separator)?;
    // A character-level tokenizer may be cut wherever a pattern may.
    let pattern = vocabulary.pattern().unwrap_or(Pattern::Gpt2);
    let mut sink = Sink::new(target, ends, layout)?;
    Pipeline { sources, pattern, separator: &separator, layout }.run(encoders, &stop, &mut sink, progress)?;
    sink.finish()
}
