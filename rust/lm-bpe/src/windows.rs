//! A text in parts that may be counted or encoded alone: a stream in windows of bounded memory, a slice in chunks.
//!
//! A part ends at a safe cut of the pattern, never inside a special token. So pretokens, and with them counts and
//! ids, are those of the whole text, wherever the cuts fall.

use std::io::{self, Read};
use std::ops::Range;

use crate::pretokenize::Pattern;
use crate::special::SpecialTokens;

/// Reads a stream window by window. Memory: one window, longer only where the text has no safe cut.
#[derive(Debug)]
pub struct Windows<'a, R> {
    source: R,
    pattern: Pattern,
    special: &'a SpecialTokens,
    size: usize,
    /// What was read behind the last cut.
    rest: Vec<u8>,
}

impl<'a, R: Read> Windows<'a, R> {
    /// `size`: the bytes of a window, as a rule.
    pub fn new(source: R, pattern: Pattern, special: &'a SpecialTokens, size: usize) -> Self {
        Self { source, pattern, special, size: size.max(1), rest: Vec::new() }
    }

    /// Replaces the contents of `window` by the next part of the stream; `false` at its end.
    pub fn next(&mut self, window: &mut Vec<u8>) -> io::Result<bool> {
        std::mem::swap(window, &mut self.rest);
        self.rest.clear();
        let mut size = self.size.max(window.len());
        loop {
            let missing = size - window.len();
            let read = self.source.by_ref().take(missing as u64).read_to_end(window)?;
            if read < missing {
                return Ok(!window.is_empty());
            }
            if let Some(cut) = last_cut(self.pattern, self.special, window) {
                self.rest.extend_from_slice(&window[cut..]);
                window.truncate(cut);
                return Ok(true);
            }
            size *= 2;
        }
    }
}

/// The last safe cut of a text that goes on behind its end.
fn last_cut(pattern: Pattern, special: &SpecialTokens, text: &[u8]) -> Option<usize> {
    // A special token that starts before this place ends within the text.
    let from = text.len().checked_sub(special.longest())?;
    let mut cut = pattern.previous_cut(text, from).unwrap_or(0);
    for found in special.matches(text).take_while(|found| found.start <= from) {
        if found.end > cut && found.start != cut {
            cut = found.start; // the cut was inside, or before it, and this place is as good
        }
    }
    (cut > 0).then_some(cut)
}

/// `text` in chunks of about `size` bytes, longer where it has no safe cut. O(text.len()) with special tokens, else
/// O(chunks) but for the search for cuts.
pub(crate) fn chunks(pattern: Pattern, special: &SpecialTokens, text: &[u8], size: usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut matches = special.matches(text).peekable();
    while text.len() - start > size {
        let Some(mut cut) = pattern.next_cut(text, start + size) else { break };
        while let Some(found) = matches.next_if(|found| found.start < cut) {
            cut = cut.max(found.end);
        }
        chunks.push(start..cut);
        start = cut;
    }
    if start < text.len() {
        chunks.push(start..text.len());
    }
    chunks
}
