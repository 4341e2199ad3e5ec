//! Training, with progress and Ctrl-C.
use std::ops::ControlFlow;

use lm_bpe::formats::tokenizer_json::Kept;
use lm_bpe::{Model, TieBreak, TrainOptions, Vocabulary};
use pyo3::prelude::*;

use crate::core::Core;
use crate::counts::Counts;
use crate::errors::to_python;

pub fn train(
    py: Python<'_>,
    counts: &Counts,
    vocab_size: usize,
    special: Vec<String>,
    tie_break: &str,
    min_frequency: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<Core> {
    let _ = progress;
    let tie_break = TieBreak::from_name(tie_break).map_err(|error| to_python(py, &error))?;
    let options = TrainOptions { vocab_size, special_tokens: special.len(), tie_break, min_frequency };
    let trained = py.detach(|| lm_bpe::train(&counts.file.counts, &options, &mut |_| ControlFlow::Continue(())));
    let trained = trained.map_err(|error| to_python(py, &error))?;
    let first = trained.tokens.len() as u32;
    let tokens = trained.tokens.into_iter().enumerate().map(|(id, token)| (id as u32, token)).collect();
    let special = (first..).zip(special).map(|(id, text)| (text, id)).collect();
    let vocabulary = Vocabulary::new(Model::bpe(counts.file.pattern), tokens, trained.merges, special);
    vocabulary.map(|vocabulary| Core::new(vocabulary, Kept::default())).map_err(|error| to_python(py, &error))
}
