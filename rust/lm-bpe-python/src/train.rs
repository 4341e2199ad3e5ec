//! Training, with progress and Ctrl-C.
use std::borrow::Cow;

use lm_bpe::formats::tokenizer_json::Kept;
use lm_bpe::{Error, Model, Pattern, PretokenCounts, TieBreak, TrainOptions, Vocabulary, train_further};
use pyo3::prelude::*;

use crate::core::Core;
use crate::counts::Counts;
use crate::errors::to_python;
use crate::watch::Watch;

/// Ids of the result: the bytes, the merges in order, the special tokens in order.
#[expect(clippy::too_many_arguments, reason = "keyword arguments of one Python function")]
pub fn train(
    py: Python<'_>,
    pattern: Pattern,
    counts: Cow<'_, PretokenCounts>,
    vocab_size: usize,
    special: Vec<String>,
    tie_break: &str,
    min_frequency: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<Core> {
    let options = options(py, vocab_size, &special, tie_break, min_frequency)?;
    let mut watch = Watch::new(progress);
    let trained = py.detach(|| {
        lm_bpe::train(counts, &options, &mut |state| {
            watch.at("merging", state.tokens as u64, Some(state.wanted as u64))
        })
    });
    let trained = watch.end(py, trained)?;
    let first = trained.tokens.len() as u32;
    let tokens = (0..).zip(trained.tokens).collect();
    let special = (first..).zip(special).map(|(id, text)| (text, id)).collect();
    core(py, Vocabulary::new(Model::bpe(pattern), tokens, trained.merges, special))
}

/// The same from the vocabulary of `base`, whose ids stay: new tokens, then new special tokens, get the ids behind.
#[expect(clippy::too_many_arguments, reason = "keyword arguments of one Python function")]
pub fn further(
    py: Python<'_>,
    base: &Core,
    counts: &Counts,
    vocab_size: usize,
    special: Vec<String>,
    tie_break: &str,
    min_frequency: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<Core> {
    let options = options(py, vocab_size, &special, tie_break, min_frequency)?;
    let mut watch = Watch::new(progress);
    let learnt = py.detach(|| {
        train_further(&base.vocabulary, &counts.file.counts, &options, &mut |state| {
            watch.at("merging", state.tokens as u64, Some(state.wanted as u64))
        })
    });
    let learnt = watch.end(py, learnt)?;
    let old = &base.vocabulary;
    let ordinary = old.tokens().filter(|&(id, _)| !old.is_special(id)).map(|(id, token)| (id, token.to_vec()));
    let first = old.id_bound() + learnt.tokens.len() as u32;
    let tokens = ordinary.chain(learnt.tokens).collect();
    let merges = old.merges().iter().copied().chain(learnt.merges).collect();
    let special = old.special_tokens().iter().cloned().chain(special.into_iter().zip(first..)).collect();
    core(py, Vocabulary::new(old.model(), tokens, merges, special))
}

fn options(
    py: Python<'_>,
    vocab_size: usize,
    special: &[String],
    tie_break: &str,
    min_frequency: u64,
) -> PyResult<TrainOptions> {
    let tie_break = TieBreak::from_name(tie_break).map_err(|error| to_python(py, &error))?;
    Ok(TrainOptions { vocab_size, special_tokens: special.len(), tie_break, min_frequency })
}

fn core(py: Python<'_>, vocabulary: Result<Vocabulary, Error>) -> PyResult<Core> {
    vocabulary.and_then(|vocabulary| Core::new(vocabulary, Kept::default())).map_err(|error| to_python(py, &error))
}
