//! What must hold for any bytes whatever. The fuzz targets call these functions, and so does a test on stable Rust.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lm_bpe::formats::{counts_file, tiktoken, tokenizer_json};
use lm_bpe::{Encoder, EncoderPool, Model, Pattern, PretokenCounts, SpecialTokens, TieBreak, TrainOptions, Vocabulary};
use lm_bpe::{fingerprint, train as train_by_places};

#[path = "../../lm-bpe/tests/naive/mod.rs"]
pub mod naive;

/// A file is read or refused, never worse; what is read is written, and read again as the same. The first byte says
/// which kind of file it is.
pub fn load(data: &[u8]) {
    let Some((kind, content)) = data.split_first() else { return };
    let path = temporary();
    match kind % 3 {
        0 => {
            let Ok(text) = std::str::from_utf8(content) else { return };
            if let Ok((vocabulary, kept)) = tokenizer_json::from_text(text, Path::new("fuzz")) {
                if let Ok(again) = tokenizer_json::to_text(&vocabulary, &kept) {
                    let (again, _) = tokenizer_json::from_text(&again, Path::new("fuzz")).unwrap();
                    assert_eq!(fingerprint(&again), fingerprint(&vocabulary));
                }
                round(vocabulary);
            }
        }
        1 => {
            std::fs::write(&path, content).unwrap();
            if let Ok(vocabulary) = tiktoken::read(&path, Pattern::Cl100k, vec![], vec!["<|x|>".into()]) {
                if tiktoken::write(&vocabulary, &path).is_ok() {
                    let again = tiktoken::read(&path, Pattern::Cl100k, vec![], vec!["<|x|>".into()]).unwrap();
                    assert_eq!(fingerprint(&again), fingerprint(&vocabulary));
                }
                round(vocabulary);
            }
        }
        _ => {
            std::fs::write(&path, content).unwrap();
            if let Ok(counts) = counts_file::read(&path) {
                counts_file::write(&counts, &path).unwrap();
                assert!(counts_file::read(&path).unwrap() == counts);
            }
        }
    }
    let _ = std::fs::remove_file(path); // it is there for some kinds only
}

fn temporary() -> PathBuf {
    std::env::temp_dir().join(format!("lm-bpe-fuzz-{}", std::process::id()))
}

/// Some text goes through a vocabulary and comes back.
fn round(vocabulary: Vocabulary) {
    let text = "The sea, 12 don't \u{1f600}\r\n  caf\u{e9}".as_bytes();
    let vocabulary = Arc::new(vocabulary);
    let mut ids = Vec::new();
    if Encoder::new(Arc::clone(&vocabulary)).encode_ordinary(text, &mut ids).is_ok() {
        assert_eq!(vocabulary.decode(&ids).unwrap(), text);
    }
}

/// Ids are those of the definition, cold or warm, on one thread or on three; as many as are counted; and they come
/// back as the text. The first byte says which pattern.
pub fn encode(data: &[u8]) {
    let Some((pattern, text)) = data.split_first() else { return };
    let vocabulary = vocabulary(Pattern::ALL[usize::from(*pattern) % Pattern::ALL.len()]);
    let bytes = |id: u32| vocabulary.bytes(id).unwrap().to_vec();
    let mut encoder = Encoder::new(Arc::clone(vocabulary));
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    encoder.encode_ordinary(text, &mut cold).unwrap();
    encoder.encode_ordinary(text, &mut warm).unwrap();
    assert_eq!(cold, warm);
    assert_eq!(vocabulary.decode(&cold).unwrap(), text);
    let none = SpecialTokens::default();
    assert_eq!(encoder.count(text, &none).unwrap(), cold.len());
    let mut pool = EncoderPool::new(Arc::clone(vocabulary));
    let batch = pool.encode_batch(&[text, text], &none, 3, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(batch.ids, [&cold[..], &cold].concat());
    let merges = vocabulary.merges().iter().map(|merge| (bytes(merge.left), bytes(merge.right))).collect();
    let mut ids = cold.iter();
    for pretoken in vocabulary.pattern().unwrap().pretokens(text) {
        let wanted = if pretoken.len() <= 100 { naive::encode(&merges, pretoken) } else { vec![] };
        let mut length = 0;
        let mut got = Vec::new();
        while length < pretoken.len() {
            got.push(bytes(*ids.next().unwrap()));
            length += got.last().unwrap().len();
        }
        assert!(length == pretoken.len() && (got == wanted || wanted.is_empty()), "{:?}", pretoken.escape_ascii());
    }
}

/// A small vocabulary of each pattern, trained on text of many kinds.
fn vocabulary(pattern: Pattern) -> &'static Arc<Vocabulary> {
    static MADE: [OnceLock<Arc<Vocabulary>>; Pattern::ALL.len()] = [const { OnceLock::new() }; Pattern::ALL.len()];
    let place = Pattern::ALL.iter().position(|one| *one == pattern).unwrap();
    MADE[place].get_or_init(|| {
        let mut counts = PretokenCounts::new();
        for text in [
            "the sea and the lamp aaaaaaaaaaaaaaaa      ",
            "ab ba bab don't I'LL 1234567 \u{e9}\u{301}\u{65e5}\u{672c}\r\n\n\n",
        ] {
            counts.add_text(pattern, text.repeat(3).as_bytes());
        }
        let made = learn(&counts, TieBreak::Greatest, 320);
        Arc::new(Vocabulary::new(Model::bpe(pattern), (0..).zip(made.tokens).collect(), made.merges, vec![]).unwrap())
    })
}

fn learn(counts: &PretokenCounts, tie_break: TieBreak, vocab_size: usize) -> lm_bpe::Training {
    let options = TrainOptions { vocab_size, special_tokens: 0, tie_break, min_frequency: 1 };
    train_by_places(counts, &options, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Merges are those of the definition. The first byte says the tie rule; words lie between zeros, each with its count
/// in its first byte. At most 300 bytes, since the definition is slow.
pub fn train(data: &[u8]) {
    let Some((rule, data)) = data.split_first() else { return };
    let rule = [TieBreak::HuggingFace, TieBreak::Ids, TieBreak::Greatest][usize::from(*rule) % 3];
    let mut words: Vec<(Vec<u8>, u64)> = Vec::new();
    for part in data[..data.len().min(300)].split(|byte| *byte == 0) {
        if let [count, word @ ..] = part
            && words.iter().all(|known| known.0 != word)
        {
            words.push((word.to_vec(), u64::from(*count)));
        }
    }
    let mut counts = PretokenCounts::new();
    counts.extend(words.iter().map(|(word, count)| (&word[..], *count)));
    let made = learn(&counts, rule, 256 + 20);
    let bytes = |id: u32| made.tokens[id as usize].clone();
    let merges: naive::Merges = made.merges.iter().map(|merge| (bytes(merge.left), bytes(merge.right))).collect();
    assert_eq!(merges, naive::train(&words, 20, rule, 1));
}
