//! Text to ids: cut at special tokens, normalized if the vocabulary says so, cut into pretokens, each merged alone.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use unicode_normalization_alignments::{UnicodeNormalization, is_nfc};

use crate::cache::{Cache, HASHED, INLINE, LONGEST, NO_KEY, SHORT, hashed_key, key, key_at, runs_key};
use crate::error::Error;
use crate::ids::Ids;
use crate::long::{WINDOWS, merge_long};
use crate::merge::{Scratch, merge};
use crate::news::{Listener, News};
use crate::pretokenize::{Ends, Pattern};
use crate::special::SpecialTokens;
use crate::vocab::{Model, Normalization, Vocabulary};

/// An encoder: a vocabulary, shared, and working memory of its own (up to 20 MiB of cache, and what the longest pretoken
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
    hands: Hands,
    /// Where this is set, ids may be missing: whoever set it throws them away.
    stop: Arc<AtomicBool>,
    /// Where others work beside it.
    listener: Option<Listener>,
}

/// Bytes of a pretoken after which pieces of it look whether they are to go on.
const STOP_SEEN_WITHIN: usize = 1 << 16;

/// What is at hand of some pretokens; kept for its memory.
#[derive(Debug, Default)]
struct Hands {
    ends: Ends,
    /// The places and keys in the cache.
    keys: Vec<(usize, u128)>,
    /// The ids of those that have some there,
    hits: Vec<u32>,
    /// and of one that has none.
    missed: Vec<u32>,
}

impl Encoder {
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self::stoppable(vocabulary, Arc::default())
    }

    /// One that ends early in a very long pretoken where `stop` is set.
    pub(crate) fn stoppable(vocabulary: Arc<Vocabulary>, stop: Arc<AtomicBool>) -> Self {
        let mut byte_ids = [0; 256];
        for byte in 0..=255u8 {
            // Every byte has an id in a byte-level vocabulary; a character-level one never asks.
            byte_ids[usize::from(byte)] = vocabulary.id_of(&[byte]).unwrap_or(0);
        }
        Self {
            vocabulary,
            byte_ids,
            cache: Cache::new(),
            scratch: Scratch::default(),
            hands: Hands::default(),
            stop,
            listener: None,
        }
    }

    /// From now on it learns from encoders of the same vocabulary that have the same `news`, and they from it.
    pub(crate) fn listen(&mut self, news: &News) {
        self.listener.get_or_insert_with(|| Listener::new(news));
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
        self.encode_into(text, ids)
    }

    /// How many ids `encode` would append, without writing them.
    pub fn count(&mut self, text: &[u8], special: &SpecialTokens) -> Result<usize, Error> {
        let (mut total, mut done) = (0, 0);
        for found in special.matches(text) {
            self.encode_into(&text[done..found.start], &mut total).map_err(|error| moved(error, done))?;
            total += 1;
            done = found.end;
        }
        self.encode_into(&text[done..], &mut total).map_err(|error| moved(error, done))?;
        Ok(total)
    }

    /// The same as `encode_ordinary`, wherever the ids go.
    pub(crate) fn encode_into(&mut self, text: &[u8], ids: &mut impl Ids) -> Result<(), Error> {
        if let Some(listener) = &mut self.listener {
            listener.before(text.len(), &mut self.cache);
        }
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

    fn encode_pretokens(&mut self, pattern: Pattern, text: &[u8], ids: &mut impl Ids) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the processor has what the function is made for.
            #[allow(unsafe_code, reason = "see the figures in docs/performance.md")]
            return unsafe { avx2(self, pattern, text, ids) };
        }
        self.by_the_hundred(pattern, text, ids);
    }

    /// Pretokens by the hundred: where they end, then where the cache may have them, then their ids. These go by the
    /// hundred, too, so that they are near while they are looked through or made narrow.
    #[inline(always)]
    fn by_the_hundred<I: Ids>(&mut self, pattern: Pattern, text: &[u8], ids: &mut I) {
        const MANY: usize = 128;
        const WIDTH: usize = INLINE + 1; // of what a hit writes, wanted or not
        let Hands { mut ends, mut keys, mut hits, mut missed } = std::mem::take(&mut self.hands);
        let mut start = 0;
        while start < text.len() {
            pattern.ends(text, start, MANY, &mut ends);
            if keys.len() < ends.len() {
                keys.resize(ends.len(), (0, NO_KEY));
                hits.resize(WIDTH * ends.len(), 0);
            }
            let mut from = start;
            for (&end, known) in ends.iter().zip(&mut keys) {
                let length = end - from;
                let key = if length <= SHORT { key_at(text, from, length) } else { long_key(&text[from..end]) };
                *known = (self.cache.prefetch(key), key);
                from = end;
            }
            let mut count = 0;
            for (&end, &(at, key)) in ends.iter().zip(&keys) {
                if let Some(slot) = self.cache.get_at(at, key)
                    && let Some(more) = slot.inline()
                {
                    if I::KEPT {
                        hits[count..count + WIDTH].copy_from_slice(&slot.ids);
                    }
                    count += more;
                } else {
                    ids.add(&hits[..count]);
                    count = 0;
                    missed.clear();
                    self.encode_pretoken(&text[start..end], key, &mut missed);
                    ids.add(&missed);
                }
                start = end;
            }
            ids.add(&hits[..count]);
        }
        missed.shrink_to(1 << 16);
        self.hands = Hands { ends, keys, hits, missed };
    }

    /// One pretoken that has no inline ids in the cache, where it would stand under `key`.
    #[inline(never)]
    fn encode_pretoken(&mut self, pretoken: &[u8], key: u128, ids: &mut Vec<u32>) {
        if key != NO_KEY
            && let Some(&slot) = self.cache.get(key)
            && let Some(kept) = self.cache.on_shelf(slot, pretoken)
        {
            ids.extend_from_slice(kept);
            return;
        }
        let first = ids.len();
        let vocabulary = Arc::clone(&self.vocabulary);
        if vocabulary.ignore_merges()
            && let Some(id) = vocabulary.id_of(pretoken)
        {
            ids.push(id);
        } else {
            // No token holds the two bytes beside such a place in a row, so no merge crosses it.
            let joins = vocabulary.joins();
            let (mut start, mut looked) = (0, 0);
            for end in 1..pretoken.len() {
                if !joins.join(pretoken[end - 1], pretoken[end]) {
                    self.encode_piece(&vocabulary, &pretoken[start..end], ids);
                    start = end;
                    if end > looked + STOP_SEEN_WITHIN {
                        looked = end;
                        if self.stop.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                }
            }
            if start > 0 {
                self.encode_piece(&vocabulary, &pretoken[start..], ids);
                if key & HASHED != 0 {
                    return; // its pieces are kept, which come again more often than it does
                }
            } else {
                self.merge(&vocabulary, pretoken, ids);
            }
        }
        if key != NO_KEY {
            let slot = self.cache.put(key, pretoken, &ids[first..]);
            if let Some(listener) = &mut self.listener
                && slot.inline().is_some()
            {
                listener.learnt(slot);
            }
        }
    }

    /// A part of a pretoken whose ends no merge crosses.
    fn encode_piece(&mut self, vocabulary: &Vocabulary, piece: &[u8], ids: &mut Vec<u32>) {
        if let [byte] = piece {
            ids.push(self.byte_ids[usize::from(*byte)]);
            return;
        }
        if piece.len() > SHORT {
            return self.merge(vocabulary, piece, ids);
        }
        let key = key(piece);
        if let Some(&slot) = self.cache.get_piece(key) {
            match slot.inline() {
                Some(count) => return ids.extend_from_slice(&slot.ids[..count]),
                None => {
                    if let Some(kept) = self.cache.on_shelf(slot, piece) {
                        return ids.extend_from_slice(kept);
                    }
                }
            }
        }
        let first = ids.len();
        self.merge(vocabulary, piece, ids);
        self.cache.put_piece(key, piece, &ids[first..]);
    }

    /// Appends what merges make of one pretoken, whatever the vocabulary says of whole tokens.
    pub(crate) fn merge_only(&mut self, pretoken: &[u8], ids: &mut Vec<u32>) {
        let vocabulary = Arc::clone(&self.vocabulary);
        self.merge(&vocabulary, pretoken, ids);
    }

    fn merge(&mut self, vocabulary: &Vocabulary, piece: &[u8], ids: &mut Vec<u32>) {
        let Self { byte_ids, scratch, stop, .. } = self;
        let mut alone =
            |bytes: &[u8], ids: &mut Vec<u32>| merge(vocabulary.merge_table(), bytes, byte_ids, scratch, ids);
        let length = |id| vocabulary.bytes(id).map_or(1, <[u8]>::len);
        let in_windows = WINDOWS.into_iter().any(|window| {
            let stop = || stop.load(Ordering::Relaxed);
            piece.len() > window && merge_long(piece, window, &mut alone, length, stop, ids)
        });
        if !in_windows {
            alone(piece, ids);
        }
    }
}

/// The key of a pretoken of more than [`SHORT`] bytes.
#[inline(never)]
fn long_key(pretoken: &[u8]) -> u128 {
    if pretoken.len() > LONGEST {
        return NO_KEY;
    }
    runs_key(pretoken).unwrap_or_else(|| hashed_key(pretoken))
}

/// [`Encoder::by_the_hundred`] as it is compiled for processors with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn avx2(encoder: &mut Encoder, pattern: Pattern, text: &[u8], ids: &mut impl Ids) {
    encoder.by_the_hundred(pattern, text, ids);
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

fn encode_characters(vocabulary: &Vocabulary, text: &[u8], ids: &mut impl Ids) -> Result<(), Error> {
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
        ids.add(&[vocabulary.id_of(bytes).ok_or(Error::UnknownCharacter { character, position })?]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Merge;

    #[test]
    fn a_stop_is_seen_amid_the_pieces_of_a_very_long_pretoken() {
        let tokens = (0..=255).map(|byte| (u32::from(byte), vec![byte])).chain([(256, b"hi".to_vec())]).collect();
        let merges = vec![Merge { left: 104, right: 105, merged: 256 }];
        let vocabulary = Arc::new(Vocabulary::new(Model::bpe(Pattern::Gpt2), tokens, merges, vec![]).unwrap());
        let text = b"ab".repeat(4 * STOP_SEEN_WITHIN);
        for stopped in [false, true] {
            let mut encoder = Encoder::stoppable(Arc::clone(&vocabulary), Arc::new(stopped.into()));
            let mut ids = Vec::new();
            encoder.encode_ordinary(&text, &mut ids).unwrap();
            assert_eq!(ids.len() < text.len() / 2, stopped, "{} ids", ids.len());
        }
    }
}
