//! Times every step on a text: `cargo run --release --example speed -- FILE [VOCABULARY_SIZE] [PATTERN] [THREADS]`.
#![allow(clippy::print_stdout)]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use lm_bpe::{
    CountOptions, Encoder, EncoderPool, Error, Model, Pattern, SpecialTokens, TieBreak, TrainOptions, Vocabulary,
    count_files, train,
};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = arguments.first().map(PathBuf::from) else {
        println!("usage: speed FILE [VOCABULARY_SIZE] [PATTERN] [THREADS]");
        return Ok(());
    };
    let number = |at: usize, default| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (vocab_size, threads) = (number(1, 10_000), number(3, 2));
    let pattern = Pattern::from_name(arguments.get(2).map_or("gpt2", String::as_str))?;
    let text = std::fs::read(&path)
        .map_err(|error| Error::Io { path: path.display().to_string(), problem: error.to_string() })?;
    let special = SpecialTokens::default();

    row("pretokenize", &text, || pattern.pretokens(&text).count());
    let options = CountOptions { pattern, special: special.clone(), threads };
    let start = Instant::now();
    let counts = count_files(&[path], &options, &mut |_| ControlFlow::Continue(()))?;
    println!("count        {:9.3} s, {} distinct pretokens", start.elapsed().as_secs_f64(), counts.len());
    let start = Instant::now();
    let options = TrainOptions { vocab_size, special_tokens: 0, tie_break: TieBreak::HuggingFace, min_frequency: 1 };
    let training = train(&counts, &options, &mut |_| ControlFlow::Continue(()))?;
    println!("train        {:9.3} s, {} merges", start.elapsed().as_secs_f64(), training.merges.len());

    let start = Instant::now();
    let tokens = (0..).zip(training.tokens).collect();
    let vocabulary = Arc::new(Vocabulary::new(Model::bpe(pattern), tokens, training.merges, vec![])?);
    println!("vocabulary   {:9.3} s", start.elapsed().as_secs_f64());
    let mut encoder = Encoder::new(Arc::clone(&vocabulary));
    let mut ids = Vec::with_capacity(text.len());
    for name in ["encode cold", "encode warm"] {
        ids.clear();
        row(name, &text, || encoder.encode_ordinary(&text, &mut ids).map(|()| ids.len()).unwrap_or(0));
    }
    row("count ids", &text, || encoder.count(&text, &special).unwrap_or(0));
    let mut pool = EncoderPool::new(Arc::clone(&vocabulary));
    for name in ["batch cold", "batch warm"] {
        let mut go_on = |_| ControlFlow::Continue(());
        row(name, &text, || {
            pool.encode_batch(&[&text], &special, threads, &mut go_on).map_or(0, |batch| batch.ids.len())
        });
    }
    row("decode", &text, || vocabulary.decode(&ids).map_or(0, |bytes| bytes.len()));
    Ok(())
}

/// Runs `work` once and prints its rate and what it returned.
fn row(name: &str, text: &[u8], work: impl FnOnce() -> usize) {
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:12} {seconds:9.3} s {:8.0} MB/s  {result}", text.len() as f64 / 1e6 / seconds);
}
