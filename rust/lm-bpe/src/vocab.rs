//! The vocabulary: ids and their bytes, merges in rank order, special tokens. Checked whole when it is made,
//! immutable afterwards, so that any number of threads may share it.

use crate::error::Error;
use crate::joins::Joins;
use crate::merge_table::MergeTable;
use crate::pretokenize::Pattern;
use crate::token_table::{Short, TokenTable};

/// The largest id a vocabulary may use: tables are as long as their largest id, so a hostile file must not choose it.
pub const MAX_ID: u32 = (1 << 22) - 1;

/// `left` followed by `right` becomes `merged`. Its rank is its place in the list: lower ranks merge first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Merge {
    pub left: u32,
    pub right: u32,
    pub merged: u32,
}

/// What happens to text before it is cut into pretokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Normalization {
    /// Nothing: decoding gives the text back, byte for byte.
    None,
    /// Unicode NFC, as Qwen's files ask for: decoding gives the normalized text back.
    Nfc,
}

/// How a vocabulary turns text into ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Model {
    /// Byte-level BPE.
    Bpe {
        pattern: Pattern,
        /// A pretoken that is a token as a whole becomes that token even where merges would not make it
        /// (Llama 3's files, and tiktoken's rule).
        ignore_merges: bool,
        normalization: Normalization,
    },
    /// One id a character, no merges.
    Characters,
}

impl Model {
    /// Byte-level BPE with the usual rules: merges decide, text is left as it is.
    pub fn bpe(pattern: Pattern) -> Self {
        Self::Bpe { pattern, ignore_merges: false, normalization: Normalization::None }
    }
}

/// Ids, their bytes, merges and special tokens. See [`Vocabulary::new`] for what always holds.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    model: Model,
    tokens: TokenTable,
    merges: Vec<Merge>,
    merge_table: MergeTable,
    joins: Joins,
    special: Vec<(String, u32)>,
}

impl Vocabulary {
    /// Checks and indexes a vocabulary. `merges` are in rank order; `special` tokens have ids and texts of their own.
    ///
    /// Guaranteed afterwards: ids are unique and at most [`MAX_ID`]; tokens are unique and not empty; each merge
    /// joins two tokens into the token that is their bytes in a row, and no pair is listed twice; a byte-level
    /// vocabulary holds all 256 bytes; a character-level one holds single characters and no merges.
    /// Fails with the [`Error`] that names the first entry for which this is not so. O(bytes of all tokens).
    pub fn new(
        model: Model,
        tokens: Vec<(u32, Vec<u8>)>,
        merges: Vec<Merge>,
        special: Vec<(String, u32)>,
    ) -> Result<Self, Error> {
        let too_large = tokens.iter().map(|token| token.0).chain(special.iter().map(|token| token.1)).max();
        if let Some(id) = too_large.filter(|&id| id > MAX_ID) {
            return Err(Error::IdTooLarge { id, bound: MAX_ID + 1 });
        }
        let mut table = TokenTable::new(&tokens)?;
        match model {
            Model::Bpe { .. } => check_bytes(&table)?,
            Model::Characters => check_characters(&tokens, &merges)?,
        }
        let merge_table = MergeTable::new(&merges, &table)?;
        let joins = Joins::new(&merges, &table);
        add_special(&mut table, &special)?;
        Ok(Self { model, tokens: table, merges, merge_table, joins, special })
    }

    /// How text becomes ids.
    pub fn model(&self) -> Model {
        self.model
    }

    /// The pre-tokenization pattern; `None` for a character-level vocabulary.
    pub fn pattern(&self) -> Option<Pattern> {
        match self.model {
            Model::Bpe { pattern, .. } => Some(pattern),
            Model::Characters => None,
        }
    }

    /// Whether a pretoken that is a token as a whole becomes it at once.
    pub fn ignore_merges(&self) -> bool {
        matches!(self.model, Model::Bpe { ignore_merges: true, .. })
    }

    /// What happens to text before it is cut.
    pub fn normalization(&self) -> Normalization {
        match self.model {
            Model::Bpe { normalization, .. } => normalization,
            Model::Characters => Normalization::None,
        }
    }

    /// How many ids there are, special ones included.
    pub fn len(&self) -> usize {
        self.tokens.ordinary() + self.special.len()
    }

    /// Whether there is no token at all (a character-level vocabulary of an empty text).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more than the largest id; ids may have gaps below it.
    pub fn id_bound(&self) -> u32 {
        self.tokens.id_bound()
    }

    /// The bytes of an id, special ones' text included; `None` for an id that is no token. O(1).
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.tokens.bytes(id)
    }

    /// The id of an ordinary token; special tokens are never found by their bytes. O(bytes.len()).
    pub fn id_of(&self, bytes: &[u8]) -> Option<u32> {
        self.tokens.id_of(bytes)
    }

    /// Every id in ascending order with its bytes, special ones included.
    pub fn tokens(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..self.id_bound()).filter_map(|id| Some((id, self.bytes(id)?)))
    }

    /// The merges in rank order.
    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// Special tokens as they were given: text and id.
    pub fn special_tokens(&self) -> &[(String, u32)] {
        &self.special
    }

    /// Whether an id is a special token's.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.iter().any(|token| token.1 == id)
    }

    pub(crate) fn short(&self) -> &[Short] {
        self.tokens.short()
    }

    pub(crate) fn merge_table(&self) -> &MergeTable {
        &self.merge_table
    }

    pub(crate) fn joins(&self) -> &Joins {
        &self.joins
    }
}

fn check_bytes(table: &TokenTable) -> Result<(), Error> {
    match (0..=255).find(|&byte| table.id_of(&[byte]).is_none()) {
        Some(byte) => Err(Error::MissingByte { byte }),
        None => Ok(()),
    }
}

fn check_characters(tokens: &[(u32, Vec<u8>)], merges: &[Merge]) -> Result<(), Error> {
    if !merges.is_empty() {
        return Err(Error::MergesOfCharacters { merges: merges.len() });
    }
    let is_one = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| text.chars().count() == 1);
    match tokens.iter().find(|token| !is_one(&token.1)) {
        Some((id, bytes)) => Err(Error::NotOneCharacter { id: *id, bytes: bytes.clone() }),
        None => Ok(()),
    }
}

fn add_special(table: &mut TokenTable, special: &[(String, u32)]) -> Result<(), Error> {
    let mut texts = std::collections::HashSet::new();
    for (text, id) in special {
        if text.is_empty() {
            return Err(Error::EmptySpecial { id: *id });
        }
        if !texts.insert(text) {
            return Err(Error::DuplicateSpecial { text: text.clone() });
        }
        if table.bytes(*id).is_some() || table.id_of(text.as_bytes()).is_some() {
            return Err(Error::SpecialClash { text: text.clone(), id: *id });
        }
        table.add_unlisted(*id, text.as_bytes());
    }
    Ok(())
}
