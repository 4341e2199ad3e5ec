//! The encoder against the definition: one pretoken at a time, the lowest rank first.
#![allow(clippy::unwrap_used)]

mod naive;

use std::ops::ControlFlow;
use std::sync::Arc;

use lm_bpe::{
    Encoder, EncoderPool, Error, Merge, Model, Normalization, Part, Pattern, PretokenCounts, SpecialTokens, TieBreak,
    TrainOptions, Training, Vocabulary, Windows, train,
};
use naive::{Merges, Random};

const PROSE: &str = "It's a truth universally acknowledged, that a single man in possession of a good fortune, must be \
    in want of a wife.\nHowever little known the feelings or views of such a man may be on his first entering a \
    neighbourhood,   this truth is so well fixed... 12345 naïve café 日本語テキスト \u{1f600}\u{1f600} — aaaaaaaaaaaaaaaa ====\n\n";

fn trained(pattern: Pattern, merges: usize) -> Training {
    let mut counts = PretokenCounts::new();
    counts.add_text(pattern, PROSE.repeat(3).as_bytes());
    let tie_break = TieBreak::HuggingFace;
    let options = TrainOptions { vocab_size: 256 + merges, special_tokens: 0, tie_break, min_frequency: 1 };
    train(&counts, &options, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn vocabulary(model: Model, training: &Training) -> Arc<Vocabulary> {
    let tokens = (0..).zip(training.tokens.clone()).collect();
    Arc::new(Vocabulary::new(model, tokens, training.merges.clone(), special()).unwrap())
}

fn special() -> Vec<(String, u32)> {
    vec![("<|a|>".into(), 9000), ("<|a|><|a|>".into(), 9001), ("<|b|>".into(), 9002)]
}

fn merges(training: &Training) -> Merges {
    let bytes = |id: u32| training.tokens[id as usize].clone();
    training.merges.iter().map(|merge| (bytes(merge.left), bytes(merge.right))).collect()
}

/// Pieces of the prose at random, and noise between them.
fn random_text(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..random.below(8) {
        let start = random.below(PROSE.len());
        let end = (start + random.below(40)).min(PROSE.len());
        text.extend_from_slice(&PROSE.as_bytes()[start..end]); // may cut a character in two
        if random.below(3) == 0 {
            text.extend((0..random.below(90)).map(|_| *random.choose(b"aest =")));
        }
    }
    text
}

fn encode(encoder: &mut Encoder, text: &[u8]) -> Vec<u32> {
    let mut ids = Vec::new();
    encoder.encode_ordinary(text, &mut ids).unwrap();
    ids
}

#[test]
fn ids_are_those_of_the_definition_and_decode_to_the_text() {
    for pattern in Pattern::ALL {
        let training = trained(pattern, 150);
        let list = merges(&training);
        let vocabulary = vocabulary(Model::bpe(pattern), &training);
        let mut encoder = Encoder::new(Arc::clone(&vocabulary));
        let mut random = Random(23);
        for _ in 0..60 {
            let text = random_text(&mut random);
            let ids = encode(&mut encoder, &text);
            let wanted: Vec<Vec<u8>> = pattern.pretokens(&text).flat_map(|part| naive::encode(&list, part)).collect();
            let got: Vec<Vec<u8>> = ids.iter().map(|&id| vocabulary.bytes(id).unwrap().to_vec()).collect();
            assert_eq!(got, wanted);
            assert_eq!(vocabulary.decode(&ids).unwrap(), text);
            assert_eq!(encode(&mut encoder, &text), ids, "a warm cache changes nothing");
            assert_eq!(encoder.count(&text, &SpecialTokens::default()), Ok(ids.len()));
        }
    }
}

#[test]
fn ignoring_merges_takes_a_whole_pretoken_first() {
    let tokens = |extra: &[&[u8]]| -> Vec<(u32, Vec<u8>)> {
        (0..).zip((0..=255u8).map(|byte| vec![byte]).chain(extra.iter().map(|bytes| bytes.to_vec()))).collect()
    };
    let rules = [Merge { left: 97, right: 98, merged: 256 }];
    for (ignore_merges, wanted) in [(true, &[257][..]), (false, &[256, 99])] {
        let model = Model::Bpe { pattern: Pattern::Gpt2, ignore_merges, normalization: Normalization::None };
        let vocabulary = Vocabulary::new(model, tokens(&[b"ab", b"abc"]), rules.to_vec(), vec![]).unwrap();
        assert_eq!(encode(&mut Encoder::new(vocabulary.into()), b"abc"), wanted);
    }
}

#[test]
fn normalization_composes_characters_and_leaves_other_bytes_alone() {
    let training = trained(Pattern::Qwen2, 50);
    let model = Model::Bpe { pattern: Pattern::Qwen2, ignore_merges: false, normalization: Normalization::Nfc };
    let vocabulary = vocabulary(model, &training);
    let mut encoder = Encoder::new(Arc::clone(&vocabulary));
    let ids = encode(&mut encoder, "cafe\u{301}".as_bytes());
    assert_eq!(ids, encode(&mut encoder, "café".as_bytes()));
    let broken = encode(&mut encoder, b"e\xcc\x81\xff\xcc");
    assert_eq!(vocabulary.decode(&broken).unwrap(), b"\xc3\xa9\xff\xcc");
}

#[test]
fn the_longest_special_token_wins_and_no_other_text_becomes_one() {
    let vocabulary = vocabulary(Model::bpe(Pattern::Gpt2), &trained(Pattern::Gpt2, 20));
    let special = SpecialTokens::new(vocabulary.special_tokens()).unwrap();
    let text = b"x<|a|><|a|><|a|><|b|>y<|c|>";
    let parts: Vec<Part> = special.split(text).collect();
    let wanted =
        [Part::Text(b"x"), Part::Special(9001), Part::Special(9000), Part::Special(9002), Part::Text(b"y<|c|>")];
    assert_eq!(parts, wanted);
    let mut encoder = Encoder::new(Arc::clone(&vocabulary));
    let mut ids = Vec::new();
    encoder.encode(text, &special, &mut ids).unwrap();
    assert_eq!(ids[..4], [u32::from(b'x'), 9001, 9000, 9002]);
    assert_eq!(encoder.count(text, &special), Ok(ids.len()));
    assert!(encode(&mut encoder, text).iter().all(|&id| id < 9000));
}

#[test]
fn a_batch_is_the_same_for_any_number_of_threads_and_wherever_long_texts_are_cut() {
    let vocabulary = vocabulary(Model::bpe(Pattern::Cl100k), &trained(Pattern::Cl100k, 150));
    let special = SpecialTokens::new(vocabulary.special_tokens()).unwrap();
    let long = format!("{}<|a|>{}<|a|><|a|>", PROSE.repeat(700), PROSE.repeat(1300)).repeat(2);
    let unbroken = "a".repeat(700_000);
    let texts: Vec<&[u8]> = vec![b"short", long.as_bytes(), b"", unbroken.as_bytes(), PROSE.as_bytes()];
    let mut encoder = Encoder::new(Arc::clone(&vocabulary));
    let mut wanted = Vec::new();
    for text in &texts {
        let mut ids = Vec::new();
        encoder.encode(text, &special, &mut ids).unwrap();
        wanted.push(ids);
    }
    let mut pool = EncoderPool::new(vocabulary);
    for threads in [1, 2, 8] {
        let batch = pool.encode_batch(&texts, &special, threads, &mut |_| ControlFlow::Continue(())).unwrap();
        let got: Vec<&[u32]> = batch.offsets.windows(2).map(|ends| &batch.ids[ends[0]..ends[1]]).collect();
        assert_eq!(got, wanted);
        let stopped = pool.encode_batch(&texts, &special, threads, &mut |_| ControlFlow::Break(()));
        assert_eq!(stopped, Err((0, Error::Interrupted)));
    }
    let nothing = pool.encode_batch(&[], &special, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((nothing.ids.len(), nothing.offsets), (0, vec![0]));
}

#[test]
fn windows_of_a_stream_have_the_ids_of_the_whole() {
    let vocabulary = vocabulary(Model::bpe(Pattern::O200k), &trained(Pattern::O200k, 100));
    let special = SpecialTokens::new(vocabulary.special_tokens()).unwrap();
    let text = format!("{PROSE}<|a|><|a|>{}{PROSE}<|a|>", "x".repeat(200)).repeat(3);
    let mut encoder = Encoder::new(vocabulary);
    let mut wanted = Vec::new();
    encoder.encode(text.as_bytes(), &special, &mut wanted).unwrap();
    for size in [1, 7, 50, 1000, 1 << 20] {
        let mut windows = Windows::new(text.as_bytes(), Pattern::O200k, &special, size);
        let (mut window, mut ids, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        while windows.next(&mut window).unwrap() {
            encoder.encode(&window, &special, &mut ids).unwrap();
            joined.extend_from_slice(&window);
        }
        assert_eq!(joined, text.as_bytes());
        assert_eq!(ids, wanted, "windows of {size}");
    }
}

#[test]
fn a_character_that_is_not_in_the_vocabulary_is_named_with_its_place() {
    let tokens = (0..).zip(["a", "é", "b"]).map(|(id, text)| (id, text.as_bytes().to_vec())).collect();
    let vocabulary = Arc::new(Vocabulary::new(Model::Characters, tokens, vec![], special()).unwrap());
    let special = SpecialTokens::new(vocabulary.special_tokens()).unwrap();
    let mut encoder = Encoder::new(Arc::clone(&vocabulary));
    let mut ids = Vec::new();
    encoder.encode("aéb<|b|>b".as_bytes(), &special, &mut ids).unwrap();
    assert_eq!(ids, [0, 1, 2, 9002, 2]);
    let error = encoder.encode("é<|b|>az".as_bytes(), &special, &mut ids).unwrap_err();
    assert_eq!(error.to_string(), "character 'z' (U+007A) at byte 8 is not in the character-level vocabulary");
    let error = encoder.encode(b"a\xff", &special, &mut ids).unwrap_err();
    assert_eq!(error.to_string(), "byte 1 is not valid UTF-8, which a character-level vocabulary needs");
    let mut pool = EncoderPool::new(vocabulary);
    for threads in [1, 2, 8] {
        let texts: [&[u8]; 4] = [b"ab", b"a?", b"!", b"b"];
        let error = pool.encode_batch(&texts, &special, threads, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(error, (1, Error::UnknownCharacter { character: '?', position: 1 }));
    }
}

#[test]
fn a_stop_in_a_very_long_pretoken_leaves_no_trace() {
    let vocabulary = vocabulary(Model::bpe(Pattern::Gpt2), &trained(Pattern::Gpt2, 200));
    let (long, none) = (b"abc".repeat(3 << 20), SpecialTokens::default());
    let mut wanted = Vec::new();
    Encoder::new(Arc::clone(&vocabulary)).encode_ordinary(&long[..60_000], &mut wanted).unwrap();
    let mut pool = EncoderPool::new(vocabulary);
    for threads in [1, 2] {
        let stopped = pool.encode_batch(&[&long], &none, threads, &mut |_| ControlFlow::Break(()));
        assert_eq!(stopped.unwrap_err(), (0, Error::Interrupted));
        let counted = pool.count_batch(&[&long], &none, threads, &mut |_| ControlFlow::Break(()));
        assert_eq!(counted.unwrap_err(), (0, Error::Interrupted));
        let mut ids = Vec::new();
        pool.encoders(1)[0].encode_ordinary(&long[..60_000], &mut ids).unwrap();
        assert_eq!(ids, wanted);
    }
}
