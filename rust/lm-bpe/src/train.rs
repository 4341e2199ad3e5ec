//! The BPE trainer: join the most frequent pair of neighbouring tokens, again and again.
//!
//! Start with one id for each byte. Count every pair of neighbouring ids over all pretokens, each weighted by how
//! often it occurs. Take the pair with the highest count (ties by a stated rule), give it the next id, replace it
//! everywhere, and repeat until the vocabulary is full. Sennrich et al. 2016, <https://arxiv.org/abs/1508.07909>.
//!
//! Nothing is counted twice: `pairs` knows at which places each pair occurs, so a merge visits only those, and only
//! the pairs beside it change. `queue` holds pairs by a count that may be out of date; counts only fall, so a pair
//! that comes out on top with its true count is the most frequent one. Otherwise it goes back with that count.

use std::borrow::Cow;
use std::ops::ControlFlow;

use crate::counts::PretokenCounts;
use crate::error::Error;
use crate::neighbours::Neighbours;
use crate::pairs::Pairs;
use crate::queue::{Candidate, Queue};
use crate::tie_break::{TieBreak, byte_level_order};
use crate::vocab::{MAX_ID, Merge};
use crate::words::{Pair, Words};

/// What to train.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainOptions {
    /// Tokens wanted in all: 256 bytes, merges, special tokens.
    pub vocab_size: usize,
    /// Of these, the ids that special tokens will take.
    pub special_tokens: usize,
    pub tie_break: TieBreak,
    /// Pairs that occur less often are not merged; 0 means 1.
    pub min_frequency: u64,
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The vocabulary has the size that was asked for.
    Full,
    /// No pair is left that occurs `min_frequency` times: the text is too small for the vocabulary.
    NoPairLeft,
}

/// A trained vocabulary: id 0-255 are the bytes, the next ids the merged tokens in the order of their creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Training {
    pub tokens: Vec<Vec<u8>>,
    /// In rank order: merge `i` makes token `256 + i`.
    pub merges: Vec<Merge>,
    pub ended: Ended,
}

/// How far training is: called after every merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainProgress {
    pub tokens: usize,
    pub wanted: usize,
    /// How often the pair merged last occurs.
    pub count: u64,
}

/// Learns merges from counts. The result depends on nothing but counts and options. Counts that are given, not lent, are
/// let go as soon as they are read, which saves their memory.
///
/// No token is made twice, as `a`+`ba` and as `ab`+`a`: where bytes end up as one token, no merge ever reached across
/// their ends, so what happened within depended on these bytes alone and was the same everywhere.
///
/// Errors: a vocabulary size that does not hold bytes and special tokens or passes [`MAX_ID`]; more than `u32::MAX`
/// bytes of distinct pretokens; [`Error::Interrupted`] where `progress` breaks.
/// O(merges log pairs + the places each merge visits).
pub fn train<'a>(
    counts: impl Into<Cow<'a, PretokenCounts>>,
    options: &TrainOptions,
    progress: &mut dyn FnMut(TrainProgress) -> ControlFlow<()>,
) -> Result<Training, Error> {
    let mut trainer = Trainer::new(counts.into(), options)?;
    let ended = trainer.run(tokens_wanted(options)?, progress)?;
    Ok(Training { tokens: trainer.tokens.bytes, merges: trainer.merges, ended })
}

/// Training at any moment: the tokens so far, and every pair of them with its places.
pub(crate) struct Trainer {
    pub(crate) tokens: Tokens,
    pub(crate) merges: Vec<Merge>,
    least: i64,
    words: Words,
    neighbours: Neighbours,
    queue: Queue,
    pairs: Pairs,
    /// The places of the pair at hand.
    places: Vec<u32>,
}

impl Trainer {
    /// Nothing but bytes.
    pub(crate) fn new(counts: Cow<'_, PretokenCounts>, options: &TrainOptions) -> Result<Self, Error> {
        let least = i64::try_from(options.min_frequency.max(1)).unwrap_or(i64::MAX);
        let tokens = Tokens::new(options.tie_break);
        let words = Words::new(&counts)?;
        drop(counts);
        let mut queue = Queue::default();
        let pairs = Pairs::new(&words, |pair, count| {
            queue.push(Candidate { count, pair }, |a, b| tokens.better(a, b));
        });
        let (neighbours, places) = (Neighbours::default(), Vec::new());
        Ok(Self { tokens, merges: Vec::new(), least, words, neighbours, queue, pairs, places })
    }

    /// Merges the most frequent pairs until there are `wanted` tokens.
    pub(crate) fn run(
        &mut self,
        wanted: usize,
        progress: &mut dyn FnMut(TrainProgress) -> ControlFlow<()>,
    ) -> Result<Ended, Error> {
        while self.tokens.len() < wanted {
            let Some(best) = self.queue.pop(|a, b| self.tokens.better(a, b)) else { break };
            let (pair, count) = (best.pair, self.pairs.count(best.pair));
            if count != best.count {
                if count >= self.least {
                    self.queue.push(Candidate { count, pair }, |a, b| self.tokens.better(a, b));
                }
                continue;
            }
            if count < self.least {
                break;
            }
            self.merge(pair);
            let state = TrainProgress { tokens: self.tokens.len(), wanted, count: count as u64 };
            if progress(state).is_break() {
                return Err(Error::Interrupted);
            }
        }
        Ok(if self.tokens.len() < wanted { Ended::NoPairLeft } else { Ended::Full })
    }

    /// Gives a pair, whether it occurs or not, the next id, and replaces it everywhere.
    pub(crate) fn merge(&mut self, pair: Pair) {
        let merged = self.tokens.join(pair);
        self.merges.push(Merge { left: pair.0, right: pair.1, merged });
        self.places.clear();
        self.pairs.take_list(pair, &mut self.places);
        self.neighbours.start(pair, merged);
        self.words.merge(&self.places, pair, merged, &mut self.neighbours);
        self.pairs.forget(pair);
        self.pairs.apply(&mut self.neighbours, |pair, count| {
            self.queue.push(Candidate { count, pair }, |a, b| self.tokens.better(a, b));
        });
    }
}

/// Bytes and merged tokens that are to be had.
fn tokens_wanted(options: &TrainOptions) -> Result<usize, Error> {
    let (least, most) = (256 + options.special_tokens, MAX_ID as usize + 1);
    match options.vocab_size {
        wanted if wanted < least => Err(Error::VocabularyTooSmall { wanted, least }),
        wanted if wanted > most => Err(Error::VocabularyTooLarge { wanted, most }),
        wanted => Ok(wanted - options.special_tokens),
    }
}

/// The tokens so far, and the order among pairs of equal count.
pub(crate) struct Tokens {
    pub(crate) bytes: Vec<Vec<u8>>,
    tie_break: TieBreak,
    byte_order: [u32; 256],
}

impl Tokens {
    fn new(tie_break: TieBreak) -> Self {
        let bytes = (0..=255).map(|byte| vec![byte]).collect();
        Self { bytes, tie_break, byte_order: byte_level_order() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The new id of the two parts in a row.
    fn join(&mut self, pair: Pair) -> u32 {
        let joined = [&self.bytes[pair.0 as usize][..], &self.bytes[pair.1 as usize]].concat();
        self.bytes.push(joined);
        self.bytes.len() as u32 - 1
    }

    /// Whether `a` is merged before `b`: the higher count, then the tie rule.
    fn better(&self, a: &Candidate, b: &Candidate) -> bool {
        if a.count != b.count {
            return a.count > b.count;
        }
        let order = |id: u32| self.byte_order.get(id as usize).copied().unwrap_or(id);
        let bytes = |pair: Pair| (&self.bytes[pair.0 as usize], &self.bytes[pair.1 as usize]);
        match self.tie_break {
            TieBreak::HuggingFace => (order(a.pair.0), order(a.pair.1)) < (order(b.pair.0), order(b.pair.1)),
            TieBreak::Ids => a.pair < b.pair,
            TieBreak::Greatest => bytes(a.pair) > bytes(b.pair),
        }
    }
}
