//! Text to ids: cut at special tokens, normalized if the vocabulary says so, cut into pretokens, each merged alone.

use std::borrow::Cow;
use std::sync::Arc;

use unicode_normalization_alignments::{UnicodeNormalization, is_nfc};

use crate::cache::{Cache, LONGEST, key};
use crate::error::Error;
use crate::merge::{Scratch, merge};
use crate::pretokenize::Pattern;
use crate::special::{Part, SpecialTokens};
use crate::vocab::{Model, Normalization, Vocabulary};

/// An encoder: a vocabulary, shared, and working memory of its own (2 MiB of cache, and what the longest pretoken
/// needed). One thread uses one encoder; any number may share the vocabulary. Ids never depend on what it did before.
///
/// ```
/// use lm_bpe::{Encoder, Merge, Model, Pattern, Vocabulary};
/// let mut tokens: Vec<(u32, Vec<u8>)> = (0..=255).map(|byte| (u32::from(byte), vec![byte])).collect();
/// tokens.push((256, b"hi".to_vec()));
/// let merges = vec![Merge { left: 104, right: 105, merged: 256 }];
/// let vocabulary = Vocabulary::new(Model::bpe(Pattern::Gpt2), tokens, merges, vec![])?;
/// let mut ids = Vec::new();
/// Encoder::new(vocabulary.into()).encode_ordinary(b"hi!", &mut ids)?;
/// assert_eq!(ids, [256, 33]);
/// # Ok::<(), lm_bpe::Error>(())
/// ```
#[derive(Debug)]
pub struct Encoder {
    vocabulary: Arc<Vocabulary>,
    byte_ids: [u32; 256],
    cache: Cache,
    scratch: Scratch,
    counted: Vec<u32>,
}

impl Encoder {
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        let mut byte_ids = [0; 256];
        for byte in 0..=255u8 {
            // Every byte has an id in a byte-level vocabulary; a character-level one never asks.
            byte_ids[usize::from(byte)] = vocabulary.id_of(&[byte]).unwrap_or(0);
        }
        Self { vocabulary, byte_ids, cache: Cache::new(), scratch: Scratch::default(), counted: Vec::new() }
    }

    pub fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    /// Appends the ids of `text` to `ids`; the tokens of `special` become their own ids, all else is ordinary text.
    /// Fails only for a character-level vocabulary; `ids` then hold what came before the character it lacks.
    pub fn encode(&mut self, text: &[u8], special: &SpecialTokens, ids: &mut Vec<u32>) -> Result<(), Error> {
        let mut done = 0;
        for found in special.matches(text) {
            self.encode_ordinary(&text[done..found.start], ids).map_err(|error| moved(error, done))?;
            ids.push(found.id);
            done = found.end;
        }
        self.encode_ordinary(&text[done..], ids).map_err(|error| moved(error, done))
    }

    /// Appends the ids of `text` to `ids`; special tokens in it are text like any other. O(n log n) in the longest
    /// pretoken, O(n) in the text.
    pub fn encode_ordinary(&mut self, text: &[u8], ids: &mut Vec<u32>) -> Result<(), Error> {
        match self.vocabulary.model() {
            Model::Characters => encode_characters(&self.vocabulary, text, ids),
            Model::Bpe { pattern, normalization: Normalization::None, .. } => {
                self.encode_pretokens(pattern, text, ids);
                Ok(())
            }
            Model::Bpe { pattern, normalization: Normalization::Nfc, .. } => {
                self.encode_pretokens(pattern, &nfc(text), ids);
                Ok(())
            }
        }
    }

    /// How many ids `encode` would append, without keeping them.
    pub fn count(&mut self, text: &[u8], special: &SpecialTokens) -> Result<usize, Error> {
        const WINDOW: usize = 1 << 14; // small enough for its ids to stay in the first cache level
        let Some(pattern) = self.vocabulary.pattern() else {
            let mut ids = Vec::new();
            self.encode(text, special, &mut ids)?;
            return Ok(ids.len());
        };
        let mut counted = std::mem::take(&mut self.counted);
        let mut total = 0;
        for part in special.split(text) {
            let Part::Text(mut rest) = part else {
                total += 1;
                continue;
            };
            while !rest.is_empty() {
                let cut = pattern.next_cut(rest, WINDOW).unwrap_or(rest.len());
                counted.clear();
                self.encode_ordinary(&rest[..cut], &mut counted)?;
                total += counted.len();
                rest = &rest[cut..];
            }
        }
        counted.shrink_to(2 * WINDOW);
        self.counted = counted;
        Ok(total)
    }

    fn encode_pretokens(&mut self, pattern: Pattern, text: &[u8], ids: &mut Vec<u32>) {
        for pretoken in pattern.pretokens(text) {
            if pretoken.len() > LONGEST {
                self.encode_pretoken(pretoken, ids);
                continue;
            }
            let key = key(pretoken);
            if let Some((kept, length)) = self.cache.get(key) {
                ids.extend_from_slice(&kept[..length]);
                continue;
            }
            let first = ids.len();
            self.encode_pretoken(pretoken, ids);
            self.cache.put(key, &ids[first..]);
        }
    }

    #[inline(never)]
    fn encode_pretoken(&mut self, pretoken: &[u8], ids: &mut Vec<u32>) {
        if self.vocabulary.ignore_merges()
            && let Some(id) = self.vocabulary.id_of(pretoken)
        {
            ids.push(id);
            return;
        }
        let bytes = pretoken.iter().map(|&byte| self.byte_ids[usize::from(byte)]);
        merge(self.vocabulary.merge_table(), bytes, &mut self.scratch, ids);
    }
}

/// NFC of the valid UTF-8 in `text`; bytes that are not stay as they are. The tables are those that Hugging Face's
/// `tokenizers` uses (Unicode 9.0), so that ids are equal on marks that are younger, too.
fn nfc(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() || std::str::from_utf8(text).is_ok_and(is_nfc) {
        return Cow::Borrowed(text);
    }
    let mut normalized = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        normalized.extend(chunk.valid().nfc().map(|(character, _)| character).collect::<String>().into_bytes());
        normalized.extend_from_slice(chunk.invalid());
    }
    Cow::Owned(normalized)
}

fn encode_characters(vocabulary: &Vocabulary, text: &[u8], ids: &mut Vec<u32>) -> Result<(), Error> {
    let (valid, whole) = match std::str::from_utf8(text) {
        Ok(valid) => (valid, Ok(())),
        Err(error) => {
            let position = error.valid_up_to();
            let valid = std::str::from_utf8(&text[..position]).unwrap_or_default();
            (valid, Err(Error::NotUtf8 { position }))
        }
    };
    for (position, character) in valid.char_indices() {
        let bytes = &text[position..position + character.len_utf8()];
        ids.push(vocabulary.id_of(bytes).ok_or(Error::UnknownCharacter { character, position })?);
    }
    whole
}

/// An error in a part of a text that starts at `start`, told for the whole text.
pub(crate) fn moved(error: Error, start: usize) -> Error {
    match error {
        Error::UnknownCharacter { character, position } => {
            Error::UnknownCharacter { character, position: position + start }
        }
        Error::NotUtf8 { position } => Error::NotUtf8 { position: position + start },
        other => other,
    }
}
