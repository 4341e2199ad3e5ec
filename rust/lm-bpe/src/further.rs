//! Training that goes on from an existing vocabulary: its merges first, in their order, then new ones.
//!
//! Every id keeps its meaning, so embeddings that were learnt for it stay of use; new tokens get the ids behind.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::counts::PretokenCounts;
use crate::encode::Encoder;
use crate::error::Error;
use crate::formats::canonical::live_merges;
use crate::train::{Ended, TrainOptions, TrainProgress, Trainer};
use crate::vocab::{MAX_ID, Merge, Model, Normalization, Vocabulary};

/// What training adds to a vocabulary, in its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Further {
    /// By ascending ids, the first of which is the vocabulary's [`Vocabulary::id_bound`].
    pub tokens: Vec<(u32, Vec<u8>)>,
    /// To follow the vocabulary's own.
    pub merges: Vec<Merge>,
    pub ended: Ended,
}

/// Learns more merges from `counts`, whose pretokens `base` first merges as it does in encoding. On the counts that
/// `base` was trained on it gives the merges that training would have gone on with.
///
/// `options.vocab_size` is one more than the largest id there is to be, `options.special_tokens` how many of the last
/// ids are left for special tokens. Among pairs of equal count, tokens of `base` come in the order of their merges.
///
/// Fails, besides as [`train`](crate::train) does, with [`Error::CannotGoOn`]: where `base` is no byte-level BPE or normalizes text, or
/// has a token that its own merges do not make of the token's bytes. Such a token might be learnt anew.
pub fn train_further(
    base: &Arc<Vocabulary>,
    counts: &PretokenCounts,
    options: &TrainOptions,
    progress: &mut dyn FnMut(TrainProgress) -> ControlFlow<()>,
) -> Result<Further, Error> {
    check(base)?;
    let bound = base.id_bound();
    let (least, most) = (bound as usize + options.special_tokens, MAX_ID as usize + 1);
    let added = match options.vocab_size {
        wanted if wanted < least => {
            let problem =
                format!("its ids and the new special tokens need {least}, but {wanted} ids are wanted in all");
            return Err(Error::CannotGoOn { problem });
        }
        wanted if wanted > most => return Err(Error::VocabularyTooLarge { wanted, most }),
        wanted => wanted - least,
    };
    let mut trainer = Trainer::new(Cow::Borrowed(counts), options)?;
    let mut ours: HashMap<u32, u32> =
        (0..=255).filter_map(|byte: u8| Some((base.id_of(&[byte])?, u32::from(byte)))).collect();
    let mut theirs: HashMap<u32, u32> = ours.iter().map(|(their, our)| (*our, *their)).collect();
    let merges = live_merges(base);
    let wanted = trainer.tokens.len() + merges.len() + added;
    for merge in &merges {
        let merged = trainer.tokens.len() as u32;
        trainer.merge((ours[&merge.left], ours[&merge.right]));
        ours.insert(merge.merged, merged);
        theirs.insert(merged, merge.merged);
        if progress(TrainProgress { tokens: merged as usize + 1, wanted, count: 0 }).is_break() {
            return Err(Error::Interrupted);
        }
    }
    let first = trainer.tokens.len();
    let ended = trainer.run(wanted, progress)?;
    let id = |our: u32| theirs.get(&our).copied().unwrap_or_else(|| bound + (our - first as u32));
    let merges = trainer.merges[merges.len()..].iter();
    Ok(Further {
        tokens: (bound..).zip(trainer.tokens.bytes.drain(first..)).collect(),
        merges: merges.map(|m| Merge { left: id(m.left), right: id(m.right), merged: id(m.merged) }).collect(),
        ended,
    })
}

/// Whether merges alone, in their order, make every token of its bytes.
fn check(base: &Arc<Vocabulary>) -> Result<(), Error> {
    let problem = match base.model() {
        Model::Characters => "it is character-level",
        Model::Bpe { normalization: Normalization::Nfc, .. } => "it normalizes text, which counting does not",
        Model::Bpe { .. } if !base.merge_table().is_ascending() => "a merge ranks before one that makes its parts",
        Model::Bpe { .. } => "",
    };
    if !problem.is_empty() {
        return Err(Error::CannotGoOn { problem: problem.into() });
    }
    let mut encoder = Encoder::new(Arc::clone(base));
    let mut ids = Vec::new();
    for (id, token) in base.tokens().filter(|&(id, _)| !base.is_special(id)) {
        ids.clear();
        encoder.merge_only(token, &mut ids);
        if ids != [id] {
            let problem = format!("its merges do not make token {id}, b\"{}\"", token.escape_ascii());
            return Err(Error::CannotGoOn { problem });
        }
    }
    Ok(())
}
