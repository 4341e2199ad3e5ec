#![doc = include_str!("../README.md")]
#![deny(unsafe_code)] // but for one call in pretokenize/blocks.rs and one in prefetch.rs

mod batch;
mod cache;
mod count_corpus;
mod counts;
mod decode;
mod encode;
mod error;
mod fingerprint;
pub mod formats;
mod hash;
mod joins;
mod long;
mod merge;
mod merge_table;
mod neighbours;
mod open;
mod pairs;
mod prefetch;
mod pretokenize;
mod queue;
mod shard;
mod special;
mod tally;
mod threads;
mod tie_break;
mod token_table;
mod train;
mod vocab;
mod windows;
mod words;

pub use batch::{Batch, EncoderPool};
pub use count_corpus::{CountOptions, count_files, count_stream, count_texts};
pub use counts::PretokenCounts;
pub use decode::DecodeStream;
pub use encode::Encoder;
pub use error::Error;
pub use fingerprint::fingerprint;
pub use open::is_compressed;
pub use pretokenize::{Pattern, Pretokens};
pub use special::{Part, SpecialMatch, SpecialTokens};
pub use threads::Progress;
pub use tie_break::TieBreak;
pub use train::{Ended, TrainOptions, TrainProgress, Training, train};
pub use vocab::{MAX_ID, Merge, Model, Normalization, Vocabulary};
pub use windows::Windows;
