//! Tokenizer files, one module a layout. Each reads a file into a checked [`Vocabulary`](crate::Vocabulary) and writes
//! one out; a file that would not give the very ids it promises is refused, with the part named.
//!
//! * [`tokenizer_json`]: Hugging Face's `tokenizer.json`, complete: vocabulary, merges, pattern, special tokens.
//! * [`vocab_merges`]: GPT-2's `vocab.json` and `merges.txt`; pattern and special tokens are the caller's to give.
//! * [`tiktoken`]: rank files; likewise, and the merges follow from the ranks by [`canonical`].
//!
//! The byte-for-byte description is `docs/tokenizer-format.md` of the Python package.

pub mod byte_level;
pub mod canonical;
pub mod counts_file;
pub mod tiktoken;
pub mod token_file;
pub mod tokenizer_json;
pub mod vocab_merges;

pub(crate) mod error;
mod files;
mod json_map;
