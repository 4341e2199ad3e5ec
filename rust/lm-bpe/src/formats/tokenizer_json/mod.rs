//! `tokenizer.json`, the layout of Hugging Face's `tokenizers`: a pipeline of normalizer, pre-tokenizer, model,
//! post-processor and decoder, around a vocabulary, merges and added tokens.
//!
//! [`read`] accepts a file only if this crate gives the same ids as `tokenizers` does (with
//! `add_special_tokens=False`); every other part is refused by its name. [`write`] writes files that `tokenizers`
//! and `transformers` load with equal ids.
use std::path::Path;

use serde_json::{Value, json};

use super::error::wrong;
use super::files::{read_text, write_bytes};
use crate::{Error, Vocabulary};

mod parts;
mod reader;
mod schema;
mod writer;

/// What a file says that has no part in our ids, kept so that a file that is read and written says it still.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept {
    /// Adds tokens around a text where Hugging Face's `encode` is asked to (`<|begin_of_text|>` in Llama 3).
    post_processor: Option<Value>,
    /// Ids of added tokens that Hugging Face's `decode(skip_special_tokens=True)` does not skip.
    not_skipped: Vec<u32>,
}

/// Reads a `tokenizer.json`. O(bytes of the file).
pub fn read(path: &Path) -> Result<(Vocabulary, Kept), Error> {
    let text = read_text(path)?;
    from_text(&text, path)
}

/// The content of a `tokenizer.json`; `path` only names it in errors.
pub fn from_text(text: &str, path: &Path) -> Result<(Vocabulary, Kept), Error> {
    reader::vocabulary(text, path)
}

/// Writes a `tokenizer.json`, whole or not at all.
pub fn write(vocabulary: &Vocabulary, kept: &Kept, path: &Path) -> Result<(), Error> {
    write_bytes(path, to_text(vocabulary, kept).map_err(|problem| wrong(path, "", problem))?.as_bytes())
}

/// Writes the `tokenizer_config.json` that `transformers.AutoTokenizer` wants beside it, whole or not at all.
///
/// `<|endoftext|>`, if it is a special token, is named as the token that begins and ends a text, as GPT-2's does.
pub fn write_config(vocabulary: &Vocabulary, path: &Path) -> Result<(), Error> {
    const END_OF_TEXT: &str = "<|endoftext|>";
    let mut config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false});
    if vocabulary.special_tokens().iter().any(|(text, _)| text == END_OF_TEXT) {
        config["bos_token"] = END_OF_TEXT.into();
        config["eos_token"] = END_OF_TEXT.into();
    }
    write_bytes(path, format!("{config:#}\n").as_bytes())
}

/// The content of a `tokenizer.json`; fails, with the reason, where the layout cannot say what the vocabulary does.
pub fn to_text(vocabulary: &Vocabulary, kept: &Kept) -> Result<String, String> {
    writer::text(vocabulary, kept)
}
