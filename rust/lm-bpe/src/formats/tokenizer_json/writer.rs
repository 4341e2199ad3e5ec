//! From a vocabulary to JSON, one token and one merge a line, so that two files can be compared as text.
use serde_json::{Value, json};

use super::Kept;
use super::parts::{self, Cut};
use crate::formats::byte_level;
use crate::formats::json_map::string;
use crate::{Model, Vocabulary};

pub(super) fn text(vocabulary: &Vocabulary, kept: &Kept) -> Result<String, String> {
    let cut = vocabulary.pattern().map_or(Cut::Characters, Cut::Pretokens);
    let pre_tokenizer = match cut {
        Cut::Pretokens(pattern) => parts::write_pre_tokenizer(pattern),
        Cut::Characters => Value::Null,
    };
    let spell = |id: u32, bytes: &[u8]| match vocabulary.model() {
        Model::Bpe { .. } if !vocabulary.is_special(id) => byte_level::to_text(bytes),
        // Characters, and special tokens, stand as they are; both are text.
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    let mut spelled: Vec<(u32, String)> = vocabulary.tokens().map(|(id, bytes)| (id, spell(id, bytes))).collect();
    check_distinct(vocabulary, &mut spelled)?;
    let lines = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(",\n");
    let merges = vocabulary.merges().iter().map(|merge| {
        let part = |id| string(&byte_level::to_text(vocabulary.bytes(id).unwrap_or_default()));
        format!("      [{}, {}]", part(merge.left), part(merge.right))
    });
    Ok(format!(
        r#"{{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": {added_tokens},
  "normalizer": {normalizer},
  "pre_tokenizer": {pre_tokenizer},
  "post_processor": {post_processor},
  "decoder": {decoder},
  "model": {{
    "type": "BPE",
    "dropout": null,
    "unk_token": null,
    "continuing_subword_prefix": null,
    "end_of_word_suffix": null,
    "fuse_unk": false,
    "byte_fallback": false,
    "ignore_merges": {ignore_merges},
    "vocab": {{
{vocab}
    }},
    "merges": [
{merges}
    ]
  }}
}}
"#,
        added_tokens = added_tokens(vocabulary, kept),
        normalizer = parts::write_normalizer(vocabulary.normalization()),
        post_processor = kept.post_processor.clone().unwrap_or(Value::Null),
        decoder = parts::write_decoder(cut),
        ignore_merges = vocabulary.ignore_merges(),
        vocab = lines(&mut spelled.iter().map(|(id, text)| format!("      {}: {id}", string(text)))),
        merges = lines(&mut { merges }),
    ))
}

/// Special tokens stand in the vocabulary too: `tokenizers` takes the ids of added tokens from there, and counts on
/// from its end where it does not find them. So no special token may be spelled as some other token is.
fn check_distinct(vocabulary: &Vocabulary, spelled: &mut [(u32, String)]) -> Result<(), String> {
    spelled.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    let same = spelled.windows(2).find(|two| two[0].1 == two[1].1);
    if let Some([(a, text), (b, _)]) = same {
        let special = if vocabulary.is_special(*a) { a } else { b };
        return Err(format!(
            "special token {text:?} (id {special}) is spelled as the byte-level token of id {} is; rename it",
            a + b - special
        ));
    }
    spelled.sort_unstable();
    Ok(())
}

fn added_tokens(vocabulary: &Vocabulary, kept: &Kept) -> String {
    let mut special: Vec<&(String, u32)> = vocabulary.special_tokens().iter().collect();
    special.sort_by_key(|token| token.1);
    let lines: Vec<String> = special
        .into_iter()
        .map(|(content, id)| {
            let special = !kept.not_skipped.contains(id);
            let token = json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": special});
            format!("    {token}")
        })
        .collect();
    if lines.is_empty() { "[]".to_owned() } else { format!("[\n{}\n  ]", lines.join(",\n")) }
}
