//! Every way this crate can fail: one variant a cause, with its data. The texts are API and are tested.

use std::fmt;

/// What went wrong: what was wanted, what came, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Two tokens of a vocabulary carry the same id.
    DuplicateId { id: u32 },
    /// Two ids of a vocabulary stand for the same bytes.
    DuplicateToken { bytes: Vec<u8>, first: u32, second: u32 },
    /// A token of no bytes.
    EmptyToken { id: u32 },
    /// An id that would make the tables of the vocabulary needlessly large.
    IdTooLarge { id: u32, bound: u32 },
    /// A byte-level vocabulary without a token for one of the 256 bytes.
    MissingByte { byte: u8 },
    /// A merge names an id that is no token.
    UnknownMergePart { rank: usize, id: u32 },
    /// A merge whose two parts, joined, are not its result.
    MergeMismatch { rank: usize, left: Vec<u8>, right: Vec<u8>, merged: Vec<u8> },
    /// A pair that is merged twice.
    DuplicateMerge { rank: usize, left: Vec<u8>, right: Vec<u8> },
    /// A special token without text.
    EmptySpecial { id: u32 },
    /// A special token that is listed twice.
    DuplicateSpecial { text: String },
    /// A special token that is also an ordinary one, by its id or by its text.
    SpecialClash { text: String, id: u32 },
    /// A character-level vocabulary with merges.
    MergesOfCharacters { merges: usize },
    /// A token of a character-level vocabulary that is not one character.
    NotOneCharacter { id: u32, bytes: Vec<u8> },
    /// A character that a character-level vocabulary does not hold.
    UnknownCharacter { character: char, position: usize },
    /// Bytes that a character-level vocabulary cannot encode.
    NotUtf8 { position: usize },
    /// An id to decode that the vocabulary does not hold.
    UnknownId { id: u32, position: usize, bound: u32 },
    /// A name that is no pattern's.
    UnknownPattern { name: String },
    /// A name that is no tie rule's.
    UnknownTieBreak { name: String },
    /// A vocabulary size that cannot hold the bytes and the special tokens.
    VocabularyTooSmall { wanted: usize, least: usize },
    /// A vocabulary size above the bound of ids.
    VocabularyTooLarge { wanted: usize, most: usize },
    /// A vocabulary that training cannot go on from.
    CannotGoOn { problem: String },
    /// More distinct text than the trainer's 32-bit positions can address.
    TooMuchText { what: &'static str },
    /// The caller's progress function asked to stop.
    Interrupted,
    /// The operating system refused to read or write a file.
    Io { path: String, problem: String },
    /// A file that is not what it should be; `entry` is the place in it.
    Format { file: String, entry: String, problem: String },
}

/// Bytes as a person reads them: `"caf\xc3"`.
fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateId { id } => write!(f, "token id {id} is given to two tokens; ids must be unique"),
            Self::DuplicateToken { bytes, first, second } => {
                write!(f, "token {} has two ids, {first} and {second}; tokens must be unique", quoted(bytes))
            }
            Self::EmptyToken { id } => write!(f, "token id {id} stands for no bytes; a token needs at least one"),
            Self::IdTooLarge { id, bound } => write!(f, "token id {id} is too large; ids must be below {bound}"),
            Self::MissingByte { byte } => write!(
                f,
                "byte 0x{byte:02x} has no token; a byte-level vocabulary needs all 256 bytes so that any text can be encoded"
            ),
            Self::UnknownMergePart { rank, id } => {
                write!(f, "merge {rank} names id {id}, which is no token of the vocabulary")
            }
            Self::MergeMismatch { rank, left, right, merged } => write!(
                f,
                "merge {rank} joins {} and {} into {}, which is not the two in a row",
                quoted(left),
                quoted(right),
                quoted(merged)
            ),
            Self::DuplicateMerge { rank, left, right } => {
                write!(f, "merge {rank} ({} and {}) is listed twice", quoted(left), quoted(right))
            }
            Self::EmptySpecial { id } => write!(f, "special token {id} has no text; it needs at least one character"),
            Self::DuplicateSpecial { text } => write!(f, "special token {text:?} is listed twice"),
            Self::SpecialClash { text, id } => write!(
                f,
                "special token {text:?} (id {id}) is also an ordinary token; its id and its text must be its own"
            ),
            Self::MergesOfCharacters { merges } => {
                write!(f, "a character-level vocabulary has no merges, but {merges} were given")
            }
            Self::NotOneCharacter { id, bytes } => write!(
                f,
                "token id {id} of a character-level vocabulary is {}; each must be exactly one character",
                quoted(bytes)
            ),
            Self::UnknownCharacter { character, position } => write!(
                f,
                "character {character:?} (U+{:04X}) at byte {position} is not in the character-level vocabulary",
                u32::from(*character)
            ),
            Self::NotUtf8 { position } => {
                write!(f, "byte {position} is not valid UTF-8, which a character-level vocabulary needs")
            }
            Self::UnknownId { id, position, bound } => {
                write!(f, "token id {id} at position {position} is outside the vocabulary (ids are below {bound})")
            }
            Self::UnknownPattern { name } => {
                write!(f, "unknown pattern {name:?}; the patterns are {}", crate::Pattern::names())
            }
            Self::UnknownTieBreak { name } => {
                write!(f, "unknown tie break {name:?}; the tie breaks are huggingface, ids, greatest")
            }
            Self::VocabularyTooSmall { wanted, least } => write!(
                f,
                "a vocabulary of {wanted} is too small: 256 bytes and the special tokens need at least {least}"
            ),
            Self::VocabularyTooLarge { wanted, most } => {
                write!(f, "a vocabulary of {wanted} is too large; the most is {most}")
            }
            Self::CannotGoOn { problem } => write!(f, "training cannot go on from this vocabulary: {problem}"),
            Self::TooMuchText { what } => {
                write!(f, "the text holds more than 4294967295 {what}; train on a smaller sample of it")
            }
            Self::Interrupted => write!(f, "interrupted by the progress function"),
            Self::Io { path, problem } => write!(f, "{path}: {problem}"),
            Self::Format { file, entry, problem } if entry.is_empty() => write!(f, "{file}: {problem}"),
            Self::Format { file, entry, problem } => write!(f, "{file}: {entry}: {problem}"),
        }
    }
}

impl std::error::Error for Error {}
