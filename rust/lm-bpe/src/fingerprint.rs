//! One name for one tokenizer, whichever file it came from.
use sha2::{Digest, Sha256};

use crate::formats::canonical::{live_merges, whole_tokens_matter};
use crate::{Model, Normalization, Vocabulary};

/// SHA-256, in hexadecimal, of everything that decides the ids of a text, and of nothing else.
///
/// Hashed are, in this order: a line that names this scheme; the model, the pattern's name and the normalization;
/// every ordinary token by ascending id; the live merges in order of rank (a listed merge that no text ever uses is
/// left out); whether tokens that no merge makes are found as whole pretokens; the special tokens by ascending id.
/// Numbers are u32, little-endian; byte strings are preceded by their length. O(bytes of all tokens).
pub fn fingerprint(vocabulary: &Vocabulary) -> String {
    let mut hash = Sha256::new();
    hash.update(b"lm-tokenizer fingerprint 1\n");
    let number = |hash: &mut Sha256, n: u32| hash.update(n.to_le_bytes());
    let bytes = |hash: &mut Sha256, bytes: &[u8]| {
        number(hash, bytes.len() as u32);
        hash.update(bytes);
    };
    match vocabulary.model() {
        Model::Characters => bytes(&mut hash, b"characters"),
        Model::Bpe { pattern, normalization, .. } => {
            bytes(&mut hash, b"bpe");
            bytes(&mut hash, pattern.name().as_bytes());
            bytes(&mut hash, if normalization == Normalization::Nfc { b"nfc" } else { b"" });
        }
    }
    let mut special: Vec<&(String, u32)> = vocabulary.special_tokens().iter().collect();
    special.sort_by_key(|token| token.1);
    number(&mut hash, (vocabulary.len() - special.len()) as u32);
    for (id, token) in vocabulary.tokens().filter(|&(id, _)| !vocabulary.is_special(id)) {
        number(&mut hash, id);
        bytes(&mut hash, token);
    }
    let merges = live_merges(vocabulary);
    number(&mut hash, merges.len() as u32);
    for merge in merges {
        number(&mut hash, merge.left);
        number(&mut hash, merge.right);
    }
    number(&mut hash, u32::from(whole_tokens_matter(vocabulary)));
    number(&mut hash, special.len() as u32);
    for (text, id) in special {
        number(&mut hash, *id);
        bytes(&mut hash, text.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
