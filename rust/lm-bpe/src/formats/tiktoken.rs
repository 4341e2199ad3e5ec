//! tiktoken's rank files: one token a line, `base64(bytes) SPACE rank`. The rank is the id.
//!
//! Such a file has no merges, pattern or special tokens. The merges follow from the ranks (see [`canonical`]); the
//! pattern and the special tokens are the caller's to give.
//!
//! [`canonical`]: super::canonical
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::canonical::{live_merges, merges_of_ranks};
use super::error::{io, quoted, quoted_bytes, wrong};
use super::files::write_bytes;
use crate::{Error, Model, Normalization, Pattern, Vocabulary};

/// A rank file as a vocabulary with tiktoken's ids for every text. O(bytes of the file x log of the longest token).
///
/// `special` tokens have ids; the `following` ones get those after the largest id of all.
pub fn read(
    path: &Path,
    pattern: Pattern,
    mut special: Vec<(String, u32)>,
    following: Vec<String>,
) -> Result<Vocabulary, Error> {
    let tokens = read_ranks(path)?;
    let merges = merges_of_ranks(&tokens);
    // A token that no merges make is still found when it is a whole pretoken: tiktoken looks there first.
    let ignore_merges = merges.len() + 256 < tokens.len();
    let model = Model::Bpe { pattern, ignore_merges, normalization: Normalization::None };
    let taken = tokens.iter().map(|token| token.0).chain(special.iter().map(|token| token.1)).max().unwrap_or(0);
    special.extend((taken.saturating_add(1)..).zip(following).map(|(id, text)| (text, id)));
    Vocabulary::new(model, tokens, merges, special).map_err(|error| wrong(path, "", error.to_string()))
}

fn read_ranks(path: &Path) -> Result<Vec<(u32, Vec<u8>)>, Error> {
    let content = fs::read(path).map_err(|error| io(path, &error))?;
    let mut tokens = Vec::new();
    for (index, line) in content.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            let token = parse_line(line).map_err(|problem| wrong(path, format!("line {}", index + 1), problem))?;
            tokens.push(token);
        }
    }
    if tokens.is_empty() {
        return Err(wrong(path, "", "no tokens; wanted lines of base64, a space and a rank"));
    }
    Ok(tokens)
}

fn parse_line(line: &[u8]) -> Result<(u32, Vec<u8>), String> {
    let expected = || format!("wanted base64, a space and a rank, got {}", quoted_bytes(line));
    let text = std::str::from_utf8(line).map_err(|_| expected())?;
    let (token, rank) = text.split_once(' ').ok_or_else(expected)?;
    let id = rank.parse().map_err(|_| format!("rank {} is not an id", quoted(rank)))?;
    let bytes = STANDARD.decode(token).map_err(|error| format!("{} is not base64: {error}", quoted(token)))?;
    Ok((id, bytes))
}

/// Writes the ordinary tokens as ranks; pattern and special tokens are not part of such a file.
///
/// Refused when a reader of ranks would give other ids: a rank file can only say merges that come in the order of
/// the ids they make.
pub fn write(vocabulary: &Vocabulary, path: &Path) -> Result<(), Error> {
    let Model::Bpe { normalization, .. } = vocabulary.model() else {
        return Err(wrong(path, "", "a character-level tokenizer cannot be written as ranks; save tokenizer.json"));
    };
    if normalization != Normalization::None {
        return Err(wrong(path, "", "this tokenizer normalizes text, which a rank file cannot say"));
    }
    let tokens: Vec<(u32, Vec<u8>)> = vocabulary
        .tokens()
        .filter(|&(id, _)| !vocabulary.is_special(id))
        .map(|(id, bytes)| (id, bytes.to_vec()))
        .collect();
    let implied = merges_of_ranks(&tokens);
    let live = live_merges(vocabulary);
    if let Some(rank) = (0..implied.len().max(live.len())).find(|&rank| implied.get(rank) != live.get(rank)) {
        let problem = "ranks cannot say this: its merges do not come in the order of the ids they make";
        return Err(wrong(path, format!("merge {rank}"), problem));
    }
    if live.len() + 256 < tokens.len() && !vocabulary.ignore_merges() {
        let problem = "some tokens are never made by merges here, but a reader of ranks would use them";
        return Err(wrong(path, "", problem));
    }
    let lines = tokens.iter().map(|(id, bytes)| format!("{} {id}\n", STANDARD.encode(bytes)));
    write_bytes(path, lines.collect::<String>().as_bytes())
}
