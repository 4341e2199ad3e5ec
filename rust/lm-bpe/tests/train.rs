//! The trainer against the definition: count all pairs anew before each merge.
#![allow(clippy::unwrap_used)]

mod naive;

use std::collections::HashSet;
use std::ops::ControlFlow;

use lm_bpe::{
    CountOptions, Ended, Error, Pattern, PretokenCounts, SpecialTokens, TieBreak, TrainOptions, Training, count_files,
    count_stream, count_texts, train,
};
use naive::{Merges, Random};

const RULES: [TieBreak; 3] = [TieBreak::HuggingFace, TieBreak::Ids, TieBreak::Greatest];

fn options(merges: usize, tie_break: TieBreak) -> TrainOptions {
    TrainOptions { vocab_size: 256 + merges, special_tokens: 0, tie_break, min_frequency: 1 }
}

fn go_on<T>(_: T) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn trained(words: &[(Vec<u8>, u64)], options: &TrainOptions) -> Training {
    let mut counts = PretokenCounts::new();
    counts.extend(words.iter().map(|(word, count)| (&word[..], *count)));
    train(&counts, options, &mut go_on).unwrap()
}

fn as_bytes(training: &Training) -> Merges {
    let bytes = |id: u32| training.tokens[id as usize].clone();
    training.merges.iter().map(|merge| (bytes(merge.left), bytes(merge.right))).collect()
}

fn check(words: &[(Vec<u8>, u64)], merges: usize, min_frequency: u64) {
    for rule in RULES {
        let training = trained(words, &TrainOptions { min_frequency, ..options(merges, rule) });
        let wanted = naive::train(words, merges, rule, min_frequency);
        assert_eq!(as_bytes(&training), wanted, "{} on {words:?}", rule.name());
        let tokens: HashSet<&[u8]> = training.tokens.iter().map(|token| &token[..]).collect();
        assert_eq!(tokens.len(), 256 + wanted.len(), "no token is made twice");
    }
}

#[test]
fn all_pairs_of_short_words_give_the_merges_of_the_definition() {
    let words: Vec<Vec<u8>> = (2..=4usize)
        .flat_map(|length| {
            (0..1 << length).map(move |bits| (0..length).map(|at| b'a' + (bits >> at & 1) as u8).collect())
        })
        .collect();
    for first in &words {
        for second in &words {
            check(&[(first.clone(), 3), (second.clone(), 2)], 6, 1);
        }
    }
}

#[test]
fn random_words_give_the_merges_of_the_definition() {
    let mut random = Random(3);
    for _ in 0..500 {
        let (letters, longest) = (1 + random.below(4), 2 + random.below(30));
        let words: Vec<(Vec<u8>, u64)> = (0..1 + random.below(40))
            .map(|_| {
                let word = (0..1 + random.below(longest)).map(|_| *random.choose(&b"a !\xffz"[..=letters])).collect();
                (word, 1 + random.below(5) as u64)
            })
            .collect();
        check(&words, 1 + random.below(60), 1 + random.below(3) as u64);
    }
}

#[test]
fn the_three_rules_choose_differently_among_equal_counts() {
    // Each pair occurs once. By code points of the ByteLevel characters "!" comes before " ", by values after it.
    let words = [(b" x".to_vec(), 1), (b"!x".to_vec(), 1), (b"zx".to_vec(), 1)];
    let first = |rule| as_bytes(&trained(&words, &options(1, rule)))[0].0.clone();
    assert_eq!(first(TieBreak::HuggingFace), b"!");
    assert_eq!(first(TieBreak::Ids), b" ");
    assert_eq!(first(TieBreak::Greatest), b"z");
}

#[test]
fn a_classic_example_by_hand() {
    let words = [(b"low".to_vec(), 5), (b"lower".to_vec(), 2), (b"newest".to_vec(), 6), (b"widest".to_vec(), 3)];
    let training = trained(&words, &options(5, TieBreak::Greatest));
    let joined: Vec<Vec<u8>> = training.tokens[256..].to_vec();
    assert_eq!(joined, [&b"st"[..], b"est", b"ow", b"low", b"west"].map(<[u8]>::to_vec));
    assert_eq!(training.ended, Ended::Full);
}

#[test]
fn training_ends_where_no_pair_is_left() {
    let training = trained(&[(b"abc".to_vec(), 1)], &options(50, TieBreak::Ids));
    assert_eq!((training.tokens.len(), training.ended), (258, Ended::NoPairLeft));
    let training = trained(&[], &options(50, TieBreak::Ids));
    assert_eq!((training.tokens.len(), training.ended), (256, Ended::NoPairLeft));
}

#[test]
fn counts_beyond_32_bits_keep_their_order() {
    let words = [(b"ab".to_vec(), 5_000_000_000), (b"cd".to_vec(), 4_999_999_999)];
    assert_eq!(as_bytes(&trained(&words, &options(1, TieBreak::Ids))), [(b"a".to_vec(), b"b".to_vec())]);
}

#[test]
fn special_tokens_take_their_share_of_the_vocabulary() {
    let words = [(b"abcdef".to_vec(), 9)];
    let options = TrainOptions { special_tokens: 2, ..options(5, TieBreak::Ids) };
    assert_eq!(trained(&words, &options).merges.len(), 3);
    let error = train(PretokenCounts::new(), &TrainOptions { vocab_size: 257, ..options }, &mut go_on).unwrap_err();
    let text = "a vocabulary of 257 is too small: 256 bytes and the special tokens need at least 258";
    assert_eq!(error.to_string(), text);
}

#[test]
fn progress_can_interrupt_training_and_counting() {
    let mut counts = PretokenCounts::new();
    counts.add(b"abcdefgh", 1);
    let mut calls = 0;
    let stop_at_three = |_| {
        calls += 1;
        if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let result = train(&counts, &options(7, TieBreak::Ids), &mut { stop_at_three });
    assert_eq!(result, Err(Error::Interrupted));
    for threads in [1, 2] {
        let result = count_texts(&[&b"some text"[..]; 100], &counting(threads), &mut |_| ControlFlow::Break(()));
        assert_eq!(result, Err(Error::Interrupted));
    }
}

fn counting(threads: usize) -> CountOptions {
    let special = SpecialTokens::new(&[("<|end|>".into(), 0), ("<|end|><|end|>".into(), 1)]).unwrap();
    CountOptions { pattern: Pattern::Gpt2, special, threads }
}

const BETWEEN: [&str; 10] = [" ", " ", " ", "  ", "\n", ", ", "<|end|>", "<|end|><|end|>", " é ", "1234"];

fn corpus() -> Vec<u8> {
    let mut random = Random(17);
    let mut text = String::new();
    while text.len() < 9 << 20 {
        let letters = 1 + random.below(7);
        text.extend((0..letters).map(|_| char::from(b'a' + random.below(5) as u8)));
        text.push_str(BETWEEN[random.below(BETWEEN.len())]);
    }
    text.into_bytes()
}

#[test]
fn counts_do_not_depend_on_threads_windows_or_the_way_in() {
    let text = corpus();
    let mut wanted = PretokenCounts::new();
    for part in String::from_utf8(text.clone()).unwrap().split("<|end|>") {
        wanted.add_text(Pattern::Gpt2, part.as_bytes());
    }
    let path = std::env::temp_dir().join(format!("lm-bpe-count-{}", std::process::id()));
    std::fs::write(&path, &text).unwrap();
    for threads in [1, 2, 8] {
        let mut reported = 0;
        let mut report = |bytes| {
            reported = bytes;
            ControlFlow::Continue(())
        };
        let options = counting(threads);
        assert!(count_texts(&[&text], &options, &mut report).unwrap() == wanted);
        assert_eq!(reported, text.len() as u64);
        assert!(count_files(std::slice::from_ref(&path), &options, &mut go_on).unwrap() == wanted);
        assert!(count_stream("pipe".as_ref(), &text[..], &options, &mut go_on).unwrap() == wanted);
    }
    std::fs::remove_file(&path).unwrap();
    let error = count_files(&[path], &counting(2), &mut go_on).unwrap_err();
    assert!(error.to_string().contains("lm-bpe-count-"), "{error}");
}

#[test]
fn counts_of_parts_add_up_to_those_of_the_whole() {
    let texts: [&[u8]; 3] = [b"a rose is a rose", b"", b"is a rose"];
    let mut whole = PretokenCounts::new();
    let mut sum = PretokenCounts::new();
    for text in texts {
        whole.add_text(Pattern::Gpt2, text);
        let mut part = PretokenCounts::new();
        part.add_text(Pattern::Gpt2, text);
        sum.merge(&part);
    }
    assert!(sum == whole);
    assert_eq!((whole.total(), whole.len(), whole.text_bytes()), (8, 5, 25));
    let sorted = [(&b" a"[..], 2), (b" is", 1), (b" rose", 3), (b"a", 1), (b"is", 1)];
    assert_eq!(whole.sorted(), sorted);
}
