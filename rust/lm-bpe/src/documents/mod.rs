//! The documents of text files, a block at a time: what a corpus is made of, found, checked and hashed on the way to
//! its ids.
//!
//! [`DocumentReader`] reads (`reader`; JSON lines: `lines`), a [`Documents`] is one block of it (`block`), [`encode_documents`] and
//! [`count_documents`] are what is done with one (`encode`, `count`). A block holds some megabytes, so memory is bounded.
mod block;
mod count;
mod encode;
mod lines;
mod reader;

pub use block::{Documents, Piece};
pub use count::count_documents;
pub use encode::{EncodedDocuments, encode_documents};
pub use reader::DocumentReader;
