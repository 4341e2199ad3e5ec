//! Training, with progress and Ctrl-C.
use lm_bpe::formats::tokenizer_json::Kept;
use lm_bpe::{Model, TieBreak, TrainOptions, Vocabulary};
use pyo3::prelude::*;

use crate::core::Core;
use crate::counts::Counts;
use crate::errors::to_python;
use crate::watch::Watch;

/// Ids of the result: the bytes, the merges in order, the special tokens in order.
pub fn train(
    py: Python<'_>,
    counts: &Counts,
    vocab_size: usize,
    special: Vec<String>,
    tie_break: &str,
    min_frequency: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<Core> {
    let tie_break = TieBreak::from_name(tie_break).map_err(|error| to_python(py, &error))?;
    let options = TrainOptions { vocab_size, special_tokens: special.len(), tie_break, min_frequency };
    let mut watch = Watch::new(progress);
    let trained = py.detach(|| {
        lm_bpe::train(&counts.file.counts, &options, &mut |state| {
            watch.at("merging", state.tokens as u64, Some(state.wanted as u64))
        })
    });
    let trained = watch.end(py, trained)?;
    let first = trained.tokens.len() as u32;
    let tokens = (0..).zip(trained.tokens).collect();
    let special = (first..).zip(special).map(|(id, text)| (text, id)).collect();
    let vocabulary = Vocabulary::new(Model::bpe(counts.file.pattern), tokens, trained.merges, special);
    vocabulary.and_then(|vocabulary| Core::new(vocabulary, Kept::default())).map_err(|error| to_python(py, &error))
}
