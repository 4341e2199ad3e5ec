//! Byte-level BPE: trainer, encoder, decoder and file formats, with no Python in it.

#![forbid(unsafe_code)]

mod error;
mod fingerprint;
pub mod formats;
mod hash;
mod merge_table;
mod pretokenize;
mod token_table;
mod vocab;

pub use error::Error;
pub use fingerprint::fingerprint;
pub use pretokenize::Pattern;
pub use vocab::{MAX_ID, Merge, Model, Normalization, Vocabulary};
