//! Which special tokens a text may hold, from `allowed_special` and `disallowed_special`.
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::errors::exception;

/// The special tokens to look for in a text. Those that are not allowed are errors where they are found.
pub struct Policy<'a> {
    pub tokens: Vec<(&'a str, u32)>,
    allowed: Vec<bool>,
}

impl<'a> Policy<'a> {
    /// Every special token as the two arguments say: allowed, else disallowed, else ordinary text.
    pub fn new(
        special: &'a [(String, u32)],
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let allowed = Names::new(special, allowed, "allowed_special")?;
        let disallowed = Names::new(special, disallowed, "disallowed_special")?;
        let mut policy = Self { tokens: Vec::new(), allowed: Vec::new() };
        for (index, (text, id)) in special.iter().enumerate() {
            if allowed.has(index) || disallowed.has(index) {
                policy.tokens.push((text, *id));
                policy.allowed.push(allowed.has(index));
            }
        }
        Ok(policy)
    }

    pub fn is_allowed(&self, id: u32) -> bool {
        self.tokens.iter().zip(&self.allowed).any(|(token, allowed)| token.1 == id && *allowed)
    }
}

/// `"all"`, or some, by their place in the list.
enum Names {
    All,
    Some(Vec<usize>),
}

impl Names {
    fn new(special: &[(String, u32)], argument: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        let py = argument.py();
        if let Ok(text) = argument.cast::<PyString>() {
            return match text.to_str()? {
                "all" => Ok(Self::All),
                other => {
                    let message = format!(
                        "{name} is \"all\" or a collection of special tokens, not one str; for one token write {{{other:?}}}"
                    );
                    Err(exception(py, "SpecialTokenError", &message))
                }
            };
        }
        let mut places = Vec::new();
        for item in argument.try_iter()? {
            let item = item?;
            let text: &str = item.extract()?;
            let place = special.iter().position(|token| token.0 == text).ok_or_else(|| {
                let known: Vec<&str> = special.iter().take(8).map(|token| token.0.as_str()).collect();
                let message = format!(
                    "{name} names {text:?}, which is no special token of this tokenizer (it has: {})",
                    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                );
                exception(py, "SpecialTokenError", &message)
            })?;
            places.push(place);
        }
        Ok(Self::Some(places))
    }

    fn has(&self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(places) => places.contains(&index),
        }
    }
}
