//! GPT-2's own pair of files: `vocab.json`, an object of byte-level tokens and ids, and `merges.txt`, one merge a line.
//!
//! Neither names the pattern or says which tokens are special: both are the caller's to give.
use std::collections::HashMap;
use std::path::Path;

use super::byte_level;
use super::canonical::whole_tokens_matter;
use super::error::{json, quoted, wrong};
use super::files::{read_text, write_bytes};
use super::json_map::{Entries, string};
use crate::{Error, Merge, Model, Normalization, Pattern, Vocabulary};

/// The first line of `merges.txt`. Readers skip it, and some every line that begins like it.
const HEADER: &str = "#version: 0.2";
const COMMENT: &str = "#version";

/// Reads the two files. A special token takes the id that `vocab.json` has for its text, else the next free one.
pub fn read(vocab: &Path, merges: &Path, pattern: Pattern, special: &[String]) -> Result<Vocabulary, Error> {
    let Entries(entries) = serde_json::from_str(&read_text(vocab)?).map_err(|error| json(vocab, &error))?;
    let mut ids: HashMap<&str, u32> = HashMap::with_capacity(entries.len());
    for (text, id) in &entries {
        if ids.insert(text, *id).is_some() {
            return Err(wrong(vocab, quoted(text), "the token is listed twice"));
        }
    }
    let mut free = entries.iter().map(|(_, id)| id.saturating_add(1)).max().unwrap_or(0);
    let mut special_ids = Vec::with_capacity(special.len());
    for text in special {
        let id = ids.remove(text.as_str()).unwrap_or_else(|| {
            free += 1;
            free - 1
        });
        special_ids.push((text.clone(), id));
    }
    let mut tokens = Vec::with_capacity(ids.len());
    for (text, id) in entries.iter().filter(|(text, _)| ids.contains_key(text.as_str())) {
        let bytes = byte_level::to_bytes(text).map_err(|c| {
            let problem = format!("{c:?} is not of the byte-level alphabet; if the token is special, say so");
            wrong(vocab, quoted(text), problem)
        })?;
        tokens.push((*id, bytes));
    }
    let listed = read_merges(merges, &ids)?;
    Vocabulary::new(Model::bpe(pattern), tokens, listed, special_ids)
        .map_err(|error| wrong(vocab, "", error.to_string()))
}

fn read_merges(path: &Path, ids: &HashMap<&str, u32>) -> Result<Vec<Merge>, Error> {
    let text = read_text(path)?;
    let numbered = text.lines().enumerate();
    let lines = numbered.filter(|(index, line)| !(line.is_empty() || *index == 0 && line.starts_with(COMMENT)));
    let merge = |line: &str| {
        let (left, right) = line
            .split_once(' ')
            .filter(|(_, right)| !right.contains(' '))
            .ok_or_else(|| format!("wanted two tokens and a space between them, got {}", quoted(line)))?;
        let id =
            |text: &str| ids.get(text).copied().ok_or_else(|| format!("{} is not in the vocabulary", quoted(text)));
        Ok(Merge { left: id(left)?, right: id(right)?, merged: id(&format!("{left}{right}"))? })
    };
    lines
        .map(|(index, line)| merge(line).map_err(|problem: String| wrong(path, format!("line {}", index + 1), problem)))
        .collect()
}

/// Writes the two files; special tokens stand in `vocab.json` under their text, as GPT-2's does.
pub fn write(vocabulary: &Vocabulary, vocab: &Path, merges: &Path) -> Result<(), Error> {
    let Model::Bpe { normalization, .. } = vocabulary.model() else {
        return Err(wrong(vocab, "", "a character-level tokenizer has no merges; save tokenizer.json"));
    };
    if normalization != Normalization::None || whole_tokens_matter(vocabulary) {
        let problem = "this tokenizer normalizes text, or has tokens that no merges make; these files cannot say so";
        return Err(wrong(vocab, "", format!("{problem}; save tokenizer.json")));
    }
    let mut seen: HashMap<String, u32> = HashMap::with_capacity(vocabulary.len());
    let mut lines = Vec::with_capacity(vocabulary.len());
    for (id, bytes) in vocabulary.tokens() {
        let text = if vocabulary.is_special(id) {
            String::from_utf8_lossy(bytes).into_owned()
        } else {
            byte_level::to_text(bytes)
        };
        lines.push(format!("  {}: {id}", string(&text)));
        if let Some(other) = seen.insert(text.clone(), id) {
            let problem = format!("ids {other} and {id} are both spelled {text:?}; rename the special one");
            return Err(wrong(vocab, "", problem));
        }
    }
    let mut content = format!("{HEADER}\n");
    for (rank, merge) in vocabulary.merges().iter().enumerate() {
        let part = |id| byte_level::to_text(vocabulary.bytes(id).unwrap_or_default());
        let line = format!("{} {}\n", part(merge.left), part(merge.right));
        if line.starts_with(COMMENT) {
            let problem = format!("other readers take a line that begins with {COMMENT} for a comment");
            return Err(wrong(merges, format!("merge {rank}"), problem));
        }
        content += &line;
    }
    write_bytes(vocab, format!("{{\n{}\n}}\n", lines.join(",\n")).as_bytes())?;
    write_bytes(merges, content.as_bytes())
}
