//! Training that goes on gives what training in one go gives, and, from any vocabulary, what the definition gives.
#![allow(clippy::unwrap_used)]

mod naive;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use lm_bpe::{Further, Merge, Model, Pattern, PretokenCounts, TieBreak, TrainOptions, Vocabulary};
use lm_bpe::{Training, train, train_further};
use naive::Random;

fn options(vocab_size: usize, special_tokens: usize) -> TrainOptions {
    TrainOptions { vocab_size, special_tokens, tie_break: TieBreak::HuggingFace, min_frequency: 1 }
}

fn counts(words: &[(Vec<u8>, u64)]) -> PretokenCounts {
    let mut counts = PretokenCounts::new();
    counts.extend(words.iter().map(|(word, count)| (&word[..], *count)));
    counts
}

fn trained(words: &[(Vec<u8>, u64)], vocab_size: usize) -> Training {
    train(counts(words), &options(vocab_size, 0), &mut |_| ControlFlow::Continue(())).unwrap()
}

fn go_on(base: &Arc<Vocabulary>, words: &[(Vec<u8>, u64)], options: &TrainOptions) -> Result<Further, lm_bpe::Error> {
    train_further(base, &counts(words), options, &mut |_| ControlFlow::Continue(()))
}

fn some_words(random: &mut Random) -> Vec<(Vec<u8>, u64)> {
    (0..1 + random.below(30))
        .map(|_| ((0..1 + random.below(12)).map(|_| *random.choose(b"abc ")).collect(), 1 + random.below(9) as u64))
        .collect()
}

/// The vocabulary of a training with its ids in another order: bytes from 1000 on, and a special token among merges.
fn renumbered(training: &Training) -> Arc<Vocabulary> {
    let id = |id: u32| if id < 256 { 1000 + (id ^ 0x5a) } else { 2 * id };
    let tokens = training.tokens.iter().enumerate().map(|(at, token)| (id(at as u32), token.clone())).collect();
    let merges = training.merges.iter();
    let merges = merges.map(|m| Merge { left: id(m.left), right: id(m.right), merged: id(m.merged) }).collect();
    Arc::new(Vocabulary::new(Model::bpe(Pattern::Gpt2), tokens, merges, vec![("<|x|>".into(), 3)]).unwrap())
}

#[test]
fn going_on_with_the_same_counts_gives_what_one_go_gives() {
    let mut random = Random(11);
    for _ in 0..200 {
        let words = some_words(&mut random);
        let (some, all) = (trained(&words, 256 + random.below(20)), trained(&words, 290));
        let base = renumbered(&some);
        let bound = base.id_bound();
        let wanted = bound as usize + all.tokens.len() - some.tokens.len();
        let further = go_on(&base, &words, &options(wanted + 2, 2)).unwrap();
        let learnt: Vec<_> = (bound..).zip(all.tokens[some.tokens.len()..].iter().cloned()).collect();
        assert_eq!(further.tokens, learnt);
    }
}

#[test]
fn going_on_with_other_counts_gives_what_the_definition_gives() {
    let mut random = Random(5);
    for _ in 0..200 {
        let base = renumbered(&trained(&some_words(&mut random), 256 + random.below(15)));
        let words = some_words(&mut random);
        let further = go_on(&base, &words, &options(base.id_bound() as usize + 12, 0)).unwrap();
        let learnt: Vec<_> = further.tokens.iter().map(|token| token.1.clone()).collect();
        assert_eq!(learnt, by_definition(&base, &words, 12));
        let known = |id: u32| base.bytes(id).or_else(|| Some(&further.tokens.iter().find(|token| token.0 == id)?.1));
        for merge in &further.merges {
            let parts = [known(merge.left).unwrap(), known(merge.right).unwrap()].concat();
            assert_eq!(parts, known(merge.merged).unwrap());
        }
    }
}

/// The words as `base` encodes them, and then the most frequent pair, counted anew, again and again. Equal counts by
/// ids: those of bytes first, as their characters come (here: letters, then the space), then merges by age.
fn by_definition(base: &Arc<Vocabulary>, words: &[(Vec<u8>, u64)], wanted: usize) -> Vec<Vec<u8>> {
    let mut ages: HashMap<Vec<u8>, usize> = b"abc ".iter().map(|&byte| vec![byte]).zip(0..).collect();
    for merge in base.merges() {
        ages.insert(base.bytes(merge.merged).unwrap().to_vec(), ages.len());
    }
    let bytes = |id: u32| base.bytes(id).unwrap().to_vec();
    let merges = base.merges().iter().map(|merge| (bytes(merge.left), bytes(merge.right))).collect();
    let mut split: Vec<(Vec<Vec<u8>>, u64)> =
        words.iter().map(|(word, count)| (naive::encode(&merges, word), *count)).collect();
    let mut learnt = Vec::new();
    while learnt.len() < wanted {
        let mut counts: HashMap<(Vec<u8>, Vec<u8>), u64> = HashMap::new();
        for (parts, count) in &split {
            for pair in parts.windows(2) {
                *counts.entry((pair[0].clone(), pair[1].clone())).or_default() += count;
            }
        }
        let better = |((a, b), count): &((Vec<u8>, Vec<u8>), u64)| (std::cmp::Reverse(*count), ages[a], ages[b]);
        let Some(((a, b), _)) = counts.into_iter().min_by_key(better) else { break };
        let joined = [a.clone(), b.clone()].concat();
        ages.insert(joined.clone(), ages.len());
        for (parts, _) in &mut split {
            let mut at = 0;
            while at + 1 < parts.len() {
                if parts[at] == a && parts[at + 1] == b {
                    parts.splice(at..at + 2, [joined.clone()]);
                }
                at += 1;
            }
        }
        learnt.push(joined);
    }
    learnt
}

#[test]
fn a_vocabulary_that_training_cannot_go_on_from_is_refused_with_the_reason() {
    let tokens = |more: &[&[u8]]| -> Vec<(u32, Vec<u8>)> {
        let bytes = (0..=255).map(|byte| (u32::from(byte), vec![byte]));
        bytes.chain((256..).zip(more.iter().map(|token| token.to_vec()))).collect()
    };
    let make = |more: &[&[u8]], merges| {
        Arc::new(Vocabulary::new(Model::bpe(Pattern::Gpt2), tokens(more), merges, vec![]).unwrap())
    };
    let refusal = |base, size| go_on(base, &[], &options(size, 1)).unwrap_err().to_string();
    let lonely = make(&[b"ab"], vec![]);
    let begins = "training cannot go on from this vocabulary: ";
    assert_eq!(refusal(&lonely, 300), format!("{begins}its merges do not make token 256, b\"ab\""));
    let merge = |left, right, merged| Merge { left, right, merged };
    let unordered = make(&[b"ab", b"abc"], vec![merge(256, 99, 257), merge(97, 98, 256)]);
    assert_eq!(refusal(&unordered, 300), format!("{begins}a merge ranks before one that makes its parts"));
    let small = make(&[b"ab"], vec![merge(97, 98, 256)]);
    let wanted = "its ids and the new special tokens need 258, but 257 ids are wanted in all";
    assert_eq!(refusal(&small, 257), format!("{begins}{wanted}"));
    let characters = Arc::new(Vocabulary::new(Model::Characters, vec![(0, b"a".to_vec())], vec![], vec![]).unwrap());
    assert_eq!(refusal(&characters, 300), format!("{begins}it is character-level"));
}
