//! The fuzz targets on stable Rust: inputs made by chance from good ones, the same at every run.
#![allow(clippy::unwrap_used)]

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::ops::ControlFlow;

use lm_bpe::formats::counts_file::{self, CountsFile};
use lm_bpe::formats::{tiktoken, tokenizer_json};
use lm_bpe::{Model, Pattern, PretokenCounts, TieBreak, TrainOptions, Vocabulary, train};
use targets::naive::Random;

/// `seed` with some bytes changed, taken out, or copied to another place.
fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(data.len().max(1));
        let end = (at + 1 + random.below(12)).min(data.len());
        match random.below(4) {
            0 if !data.is_empty() => data[at] = *random.choose(b"\0\xff{}[],:\"0 9aA\\"),
            1 if !data.is_empty() => data[at] ^= 1 << random.below(8),
            2 if !data.is_empty() => drop(data.drain(at..end)),
            _ => {
                let part = data.get(at..end).unwrap_or_default().to_vec();
                let to = random.below(data.len() + 1);
                data.splice(to..to, part);
            }
        }
    }
    data
}

#[test]
fn damaged_files_are_read_or_refused() {
    let mut counts = PretokenCounts::new();
    counts.add_text(Pattern::Cl100k, "the sea and the lamp, the sea\u{e9}".as_bytes());
    let options = TrainOptions { vocab_size: 270, special_tokens: 0, tie_break: TieBreak::Ids, min_frequency: 1 };
    let made = train(&counts, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let tokens = (0..).zip(made.tokens).collect();
    let vocabulary = Vocabulary::new(Model::bpe(Pattern::Cl100k), tokens, made.merges, vec![]).unwrap();
    let folder = std::env::temp_dir().join(format!("lm-bpe-seeds-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    tiktoken::write(&vocabulary, &folder.join("ranks")).unwrap();
    let file = CountsFile { pattern: Pattern::Cl100k, special_tokens: vec!["<|x|>".into()], counts };
    counts_file::write(&file, &folder.join("counts")).unwrap();
    let seeds = [
        [b"\0", tokenizer_json::to_text(&vocabulary, &tokenizer_json::Kept::default()).unwrap().as_bytes()].concat(),
        [&b"\x01"[..], &std::fs::read(folder.join("ranks")).unwrap()].concat(),
        [&b"\x02"[..], &std::fs::read(folder.join("counts")).unwrap()].concat(),
    ];
    std::fs::remove_dir_all(&folder).unwrap();
    let mut random = Random(1);
    for seed in &seeds {
        targets::load(seed);
        for _ in 0..400 {
            let mut data = mutated(seed, &mut random);
            if let Some(kind) = data.first_mut() {
                *kind = seed[0];
            }
            targets::load(&data);
        }
    }
}

#[test]
fn any_bytes_are_encoded_as_the_definition_says() {
    let mut random = Random(2);
    let seed =
        "\0the sea and the lamp don't I'LL aaaaaaa        \r\n\n 12345 \u{e9}\u{301}\u{65e5}\u{672c}\u{1f600} ab/ba\t";
    for _ in 0..300 {
        let mut data = mutated(seed.repeat(1 + random.below(3)).as_bytes(), &mut random);
        data[0] = random.below(6) as u8;
        targets::encode(&data);
    }
}

#[test]
fn any_words_are_learnt_as_the_definition_says() {
    let mut random = Random(3);
    let seed = b"\0\x03aabaab\0\x03abab\0\x05 the\0\x05 then\0\x01\xff\xfe\xff\0\x02aaaaaaa\0";
    for _ in 0..300 {
        targets::train(&mutated(seed, &mut random));
    }
}
