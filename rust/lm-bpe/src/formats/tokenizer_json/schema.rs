//! The layout of `tokenizer.json` as Hugging Face writes it. A field that is not listed here is refused by name.
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use crate::formats::json_map::Entries;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object, as `tokenizers` writes it")]
pub(super) struct File {
    pub version: Option<String>,
    pub truncation: Option<Value>,
    pub padding: Option<Value>,
    #[serde(default)]
    pub added_tokens: Vec<AddedToken>,
    pub normalizer: Option<Value>,
    pub pre_tokenizer: Option<Value>,
    pub post_processor: Option<Value>,
    pub decoder: Option<Value>,
    pub model: BpeModel,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of an added token")]
pub(super) struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    pub single_word: bool,
    #[serde(default)]
    pub lstrip: bool,
    #[serde(default)]
    pub rstrip: bool,
    #[serde(default)]
    pub normalized: bool,
    #[serde(default)]
    pub special: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of the model")]
pub(super) struct BpeModel {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub dropout: Option<f64>,
    /// Only ever used for a byte that has no token; a vocabulary without all bytes is refused.
    #[allow(dead_code)]
    pub unk_token: Option<Value>,
    #[allow(dead_code)]
    pub fuse_unk: Option<bool>,
    #[allow(dead_code)]
    pub byte_fallback: Option<bool>,
    pub continuing_subword_prefix: Option<String>,
    pub end_of_word_suffix: Option<String>,
    pub ignore_merges: Option<bool>,
    pub vocab: Entries,
    pub merges: Vec<Pair>,
}

/// A merge: `["a", "b"]`, or `"a b"` in files from before 2024.
#[derive(Debug)]
pub(super) struct Pair(pub String, pub String);

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairVisitor)
    }
}

struct PairVisitor;

impl<'de> Visitor<'de> for PairVisitor {
    type Value = Pair;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a merge: two strings in an array, or one string with a space between the two")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Pair, E> {
        match text.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok(Pair(left.to_owned(), right.to_owned())),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut parts: S) -> Result<Pair, S::Error> {
        let (left, right) = (parts.next_element()?, parts.next_element()?);
        match (left, right, parts.next_element::<de::IgnoredAny>()?) {
            (Some(left), Some(right), None) => Ok(Pair(left, right)),
            _ => Err(de::Error::invalid_length(0, &self)),
        }
    }
}
