//! Special tokens in text: found before anything else is done to it, the leftmost first, of those the longest.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::error::Error;

/// A set of special tokens to look for. One pass over the text, however many there are.
#[derive(Debug, Clone, Default)]
pub struct SpecialTokens {
    search: Option<AhoCorasick>,
    ids: Vec<u32>,
    longest: usize,
}

/// A special token's place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialMatch {
    pub start: usize,
    pub end: usize,
    pub id: u32,
}

/// A part of a text: ordinary, or one special token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// Never empty.
    Text(&'a [u8]),
    Special(u32),
}

impl SpecialTokens {
    /// The tokens to look for, as (text, id). Texts must not be empty.
    pub fn new(tokens: &[(String, u32)]) -> Result<Self, Error> {
        if let Some((_, id)) = tokens.iter().find(|token| token.0.is_empty()) {
            return Err(Error::EmptySpecial { id: *id });
        }
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens.iter().map(|token| token.0.as_bytes()))
            .map_err(|_| Error::TooMuchText { what: "bytes of special tokens" })?;
        let longest = tokens.iter().map(|token| token.0.len()).max().unwrap_or(0);
        Ok(Self { search: Some(search), ids: tokens.iter().map(|token| token.1).collect(), longest })
    }

    /// Bytes of the longest token; 0 if there is none.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The first special token of `text`.
    pub fn find(&self, text: &[u8]) -> Option<SpecialMatch> {
        self.matches(text).next()
    }

    /// Every special token of `text`, left to right, never overlapping.
    pub fn matches<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = SpecialMatch> + 'a {
        self.search.iter().flat_map(move |search| {
            let found = search.find_iter(text);
            found.map(|at| SpecialMatch { start: at.start(), end: at.end(), id: self.ids[at.pattern().as_usize()] })
        })
    }

    /// `text` cut at its special tokens.
    pub fn split<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Part<'a>> + 'a {
        let end = SpecialMatch { start: text.len(), end: text.len(), id: u32::MAX };
        let mut done = 0;
        self.matches(text).map(Some).chain([None]).flat_map(move |found| {
            let here = found.unwrap_or(end);
            let before = &text[done..here.start];
            done = here.end;
            let special = found.map(|found| Part::Special(found.id));
            (!before.is_empty()).then_some(Part::Text(before)).into_iter().chain(special)
        })
    }
}
