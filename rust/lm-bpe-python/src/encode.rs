//! Text to ids: special tokens by the caller's policy, what lies between them as ordinary text.
use lm_bpe::Error;
use pyo3::prelude::*;

use crate::core::Core;
use crate::errors::{exception, to_python};
use crate::naive;
use crate::special::Policy;

/// Why a text has no ids.
pub enum Refusal {
    Core(Error),
    Special { token: String, at: usize },
}

impl Refusal {
    pub fn into_python(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Core(error) => to_python(py, &error),
            Self::Special { token, at } => {
                let message = format!(
                    "the text holds the special token {token:?} at character {at}, and it is not allowed there; \
                     pass allowed_special={{{token:?}}} to encode it as such, or disallowed_special=() to take it as \
                     ordinary text"
                );
                exception(py, "SpecialTokenError", &message)
            }
        }
    }
}

impl Core {
    pub fn ordinary(&self, text: &[u8], ids: &mut Vec<u32>) -> Result<(), Error> {
        self.encoder.encode(&self.vocabulary, text, ids)
    }

    /// Appends the ids of `text` to `ids`.
    pub fn encode_with(&self, text: &str, policy: &Policy<'_>, ids: &mut Vec<u32>) -> Result<(), Refusal> {
        let mut from = 0;
        while let Some((start, end, id)) = naive::find(&policy.tokens, text, from) {
            if !policy.is_allowed(id) {
                let at = text[..start].chars().count();
                return Err(Refusal::Special { token: text[start..end].to_owned(), at });
            }
            self.ordinary(text[from..start].as_bytes(), ids).map_err(Refusal::Core)?;
            ids.push(id);
            from = end;
        }
        self.ordinary(text[from..].as_bytes(), ids).map_err(Refusal::Core)
    }
}
