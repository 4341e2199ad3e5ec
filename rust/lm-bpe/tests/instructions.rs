//! How many instructions a byte encoding and training take. Valgrind counts them: the same number on every run and on
//! every machine with AVX2, however busy, so that a path that falls back to a slower one is seen where no timing would
//! tell. What is counted is this test program itself, as it is compiled for tests.
//!
//! Skipped, with a line that says so, where there is no valgrind or no AVX2 (other paths are taken then). A limit is about 1.3 times what was counted when it was
//! written down: where a change has a good reason to need more, it is raised, and the reason told in the commit.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::ops::ControlFlow;
use std::process::Command;
use std::sync::Arc;

use lm_bpe::{Encoder, Model, Pattern, PretokenCounts, TieBreak, TrainOptions, Training, Vocabulary, train};

const BYTES: usize = 1 << 18;
/// The environment variable that tells this program that it is being counted.
const COUNTED: &str = "LM_BPE_COUNTED";

/// Instructions a byte of text, by the function that is counted.
const LIMITS: [(&str, u64); 3] = [("counted_encode", 300), ("counted_encode_again", 42), ("counted_train", 320)];

#[test]
fn encoding_and_training_need_no_more_instructions_than_they_did() {
    if std::env::var_os(COUNTED).is_some() {
        return work();
    }
    if option_env!("RUSTFLAGS").is_some_and(|flags| flags.contains("sanitizer")) {
        return eprintln!("skipped: a sanitizer's own instructions are not to be counted");
    }
    #[cfg(target_arch = "x86_64")]
    let same_paths = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
    #[cfg(not(target_arch = "x86_64"))]
    let same_paths = false;
    if !same_paths {
        return eprintln!("skipped: the limits are those of x86-64 with AVX2");
    }
    if !Command::new("valgrind").arg("--version").output().is_ok_and(|made| made.status.success()) {
        return eprintln!("skipped: there is no valgrind to count instructions");
    }
    for (function, limit) in LIMITS {
        let run = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
            .arg(format!("--toggle-collect=*{function}"))
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "encoding_and_training_need_no_more_instructions_than_they_did"])
            .env(COUNTED, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        let collected = said.lines().find_map(|line| line.split_once("Collected : ")).expect("a count").1;
        let each = collected.trim().parse::<u64>().unwrap() / BYTES as u64;
        eprintln!("{function}: {each} instructions a byte");
        assert!((limit / 4..=limit).contains(&each), "{function}: {each} instructions a byte, the limit is {limit}");
    }
}

fn work() {
    let text = text();
    let Training { tokens, merges, .. } = counted_train(&text);
    let tokens = (0..).zip(tokens).collect();
    let vocabulary = Arc::new(Vocabulary::new(Model::bpe(Pattern::Gpt2), tokens, merges, vec![]).unwrap());
    let mut encoder = Encoder::new(vocabulary);
    let cold = counted_encode(&mut encoder, &text);
    assert_eq!(counted_encode_again(&mut encoder, &text), cold);
}

/// With a cache that knows nothing yet.
#[inline(never)]
fn counted_encode(encoder: &mut Encoder, text: &[u8]) -> Vec<u32> {
    let mut ids = Vec::new();
    encoder.encode_ordinary(text, &mut ids).unwrap();
    ids
}

/// With one that knows all.
#[inline(never)]
fn counted_encode_again(encoder: &mut Encoder, text: &[u8]) -> Vec<u32> {
    let mut ids = Vec::with_capacity(text.len());
    encoder.encode_ordinary(text, &mut ids).unwrap();
    ids
}

#[inline(never)]
fn counted_train(text: &[u8]) -> Training {
    let mut counts = PretokenCounts::new();
    counts.add_text(Pattern::Gpt2, text);
    let options =
        TrainOptions { vocab_size: 2000, special_tokens: 0, tie_break: TieBreak::HuggingFace, min_frequency: 1 };
    train(&counts, &options, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Lines of words of two to five syllables, the first ones by far the most frequent; some numbers, some words that are not
/// ASCII.
fn text() -> Vec<u8> {
    const SYLLABLES: [&str; 24] = [
        "the", "ra", "in", "to", "mel", "o", "sta", "ker", "ing", "qu", "li", "on", "ve", "sh", "und", "per", "é",
        "ste", "日", "al", "ti", "com", "er", "y",
    ];
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut words: Vec<String> = Vec::new();
    for _ in 0..20_000 {
        words.push((0..2 + random(4)).map(|_| SYLLABLES[random(SYLLABLES.len())]).collect());
    }
    let mut text = String::with_capacity(BYTES + 64);
    while text.len() < BYTES {
        let common = 1 + random(words.len());
        text += &words[random(common).min(random(words.len()))];
        match random(40) {
            0 => text += ".\n",
            1 => text += &format!(", {} ", random(3000)),
            _ => text += " ",
        }
    }
    text.into_bytes()
}
