//! The pretokens of a block of documents.
use super::Documents;
use crate::threads::Progress;
use crate::{CountOptions, Error, PretokenCounts, count_texts};

/// Counts the pretokens of a block of documents, each by itself, on all threads: see [`count_texts`].
pub fn count_documents(
    documents: &Documents,
    options: &CountOptions,
    progress: &mut Progress<'_>,
) -> Result<PretokenCounts, Error> {
    let texts: Vec<&[u8]> = documents.pieces().iter().map(|piece| documents.bytes(piece)).collect();
    count_texts(&texts, options, progress)
}
