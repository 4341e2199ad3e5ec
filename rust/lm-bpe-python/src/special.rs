//! Which special tokens a text may hold, from `allowed_special` and `disallowed_special`.
use std::borrow::Cow;

use lm_bpe::SpecialTokens;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::core::Core;
use crate::errors::{exception, to_python};

/// The special tokens to look for in a text, and which of them are errors where they are found.
pub struct Policy<'a> {
    search: Cow<'a, SpecialTokens>,
    /// Ids that must not be found; `None`: none may be.
    forbidden: Option<Vec<u32>>,
}

impl<'a> Policy<'a> {
    /// A special token is allowed if `allowed` names it, else forbidden if `disallowed` does, else ordinary text.
    pub fn new(core: &'a Core, allowed: &Bound<'_, PyAny>, disallowed: &Bound<'_, PyAny>) -> PyResult<Self> {
        let special = core.vocabulary.special_tokens();
        let allowed = Names::new(special, allowed, "allowed_special")?;
        let disallowed = Names::new(special, disallowed, "disallowed_special")?;
        if allowed.is_empty() && matches!(disallowed, Names::All) {
            return Ok(Self { search: Cow::Borrowed(&core.special), forbidden: None });
        }
        let places = |names: &Names| (0..special.len()).filter(|&place| names.has(place)).collect::<Vec<_>>();
        let forbidden: Vec<usize> = places(&disallowed).into_iter().filter(|&place| !allowed.has(place)).collect();
        let named = places(&allowed).len() + forbidden.len();
        let search = if named == special.len() {
            Cow::Borrowed(&core.special)
        } else {
            let named: Vec<_> = places(&allowed).iter().chain(&forbidden).map(|&at| special[at].clone()).collect();
            let search = SpecialTokens::new(&named);
            Cow::Owned(search.map_err(|error| Python::attach(|py| to_python(py, &error)))?)
        };
        Ok(Self { search, forbidden: Some(forbidden.iter().map(|&place| special[place].1).collect()) })
    }

    /// The special tokens that become ids; call `check` first.
    pub fn search(&self) -> &SpecialTokens {
        &self.search
    }

    /// The forbidden token that `text` holds first: its bytes' place and length.
    pub fn find_forbidden(&self, text: &str) -> Option<(usize, usize)> {
        let found = match &self.forbidden {
            None => self.search.find(text.as_bytes()),
            Some(ids) if ids.is_empty() => None,
            Some(ids) => self.search.matches(text.as_bytes()).find(|found| ids.contains(&found.id)),
        };
        found.map(|found| (found.start, found.end))
    }

    /// An error that names the first forbidden token of `text`, and where it is.
    pub fn check(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        let Some((start, end)) = self.find_forbidden(text) else { return Ok(()) };
        let (token, at) = (&text[start..end], text[..start].chars().count());
        let message = format!(
            "the text holds the special token {token:?} at character {at}, which is not allowed there; pass \
             allowed_special={{{token:?}}} to encode it as such, or disallowed_special=() to take it as ordinary text"
        );
        Err(exception(py, "SpecialTokenError", &message))
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
        let wrong = |message: String| Err(exception(py, "SpecialTokenError", &message));
        if let Ok(text) = argument.cast::<PyString>() {
            return match text.to_str()? {
                "all" => Ok(Self::All),
                other => wrong(format!(
                    "{name} is \"all\" or a collection of special tokens, not one str; for one token write {{{other:?}}}"
                )),
            };
        }
        let mut places = Vec::new();
        for item in argument.try_iter()? {
            let item = item?;
            let text: &str = item.extract()?;
            let Some(place) = special.iter().position(|token| token.0 == text) else {
                return wrong(format!("{name} names {text:?}, which is {}", not_one_of(special)));
            };
            places.push(place);
        }
        Ok(Self::Some(places))
    }

    fn has(&self, place: usize) -> bool {
        match self {
            Self::All => true,
            Self::Some(places) => places.contains(&place),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Some(places) if places.is_empty())
    }
}

/// The end of a message about a name that is no special token's.
pub fn not_one_of(special: &[(String, u32)]) -> String {
    const MOST: usize = 8;
    let mut names: Vec<&str> = special.iter().take(MOST).map(|token| token.0.as_str()).collect();
    if special.len() > MOST {
        names.push("...");
    }
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!("no special token of this tokenizer (it has: {known})")
}
