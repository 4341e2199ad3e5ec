//! From JSON to a checked vocabulary.
use std::collections::HashMap;
use std::path::Path;

use super::schema::{AddedToken, BpeModel, File, Pair};
use super::{Kept, parts};
use crate::formats::canonical::live_of_listed;
use crate::formats::error::{json, quoted, wrong};
use crate::formats::{byte_level, json_map::Entries};
use crate::{Error, Merge, Model, Vocabulary};

pub(super) fn vocabulary(text: &str, path: &Path) -> Result<(Vocabulary, Kept), Error> {
    if !text.trim_start().starts_with('{') {
        let begin = quoted(text.trim_start());
        return Err(wrong(
            path,
            "",
            format!("wanted a tokenizer.json, which is a JSON object, but it begins with {begin}"),
        ));
    }
    let file: File = serde_json::from_str(text).map_err(|error| json(path, &error))?;
    if let Some(version) = file.version.as_deref().filter(|&version| version != "1.0") {
        return Err(wrong(path, "version", format!("{} is not supported; 1.0 is", quoted(version))));
    }
    for (name, part) in [("truncation", &file.truncation), ("padding", &file.padding)] {
        if part.is_some() {
            return Err(wrong(path, name, "not supported: it changes how many ids a text has; set it to null"));
        }
    }
    let in_part = |name: &'static str| move |problem: String| wrong(path, name, problem);
    let normalization = parts::read_normalizer(file.normalizer.as_ref()).map_err(in_part("normalizer"))?;
    let cut = parts::read_pre_tokenizer(file.pre_tokenizer.as_ref()).map_err(in_part("pre_tokenizer"))?;
    parts::check_post_processor(file.post_processor.as_ref()).map_err(in_part("post_processor"))?;
    parts::check_decoder(file.decoder.as_ref(), cut).map_err(in_part("decoder"))?;
    check_model(&file.model).map_err(|(field, problem)| wrong(path, format!("model.{field}"), problem))?;
    check_added(&file.added_tokens)
        .map_err(|(index, problem)| wrong(path, format!("added_tokens[{index}]"), problem))?;

    let special: Vec<(String, u32)> = file.added_tokens.iter().map(|t| (t.content.clone(), t.id)).collect();
    let kept = Kept {
        post_processor: file.post_processor,
        not_skipped: file.added_tokens.iter().filter(|t| !t.special).map(|t| t.id).collect(),
    };
    let ids = Ids::new(&file.model.vocab, &special, path)?;
    let (model, tokens, merges) = match cut {
        parts::Cut::Characters => {
            if let Some(Pair(left, right)) = file.model.merges.first() {
                let problem = format!(
                    "{} and {}, but there is no pre-tokenizer; only ByteLevel ones can have merges",
                    quoted(left),
                    quoted(right)
                );
                return Err(wrong(path, "model.merges[0]", problem));
            }
            let tokens = ids.ordinary().map(|(text, id)| (id, text.as_bytes().to_vec())).collect();
            (Model::Characters, tokens, Vec::new())
        }
        parts::Cut::Pretokens(pattern) => {
            let tokens = byte_tokens(&ids, path)?;
            let merges = ids.merges(&file.model.merges, path)?;
            let merges = if merges.len() + 256 > tokens.len() { one_per_token(&tokens, &merges) } else { merges };
            let ignore_merges = file.model.ignore_merges.unwrap_or(false);
            (Model::Bpe { pattern, ignore_merges, normalization }, tokens, merges)
        }
    };
    let vocabulary = Vocabulary::new(model, tokens, merges, special);
    Ok((vocabulary.map_err(|error| wrong(path, "", error.to_string()))?, kept))
}

/// More merges than tokens: the file lists several ways to make a token, of which one at most is ever used.
fn one_per_token(tokens: &[(u32, Vec<u8>)], merges: &[Merge]) -> Vec<Merge> {
    live_of_listed(|| tokens.iter().map(|(id, bytes)| (*id, bytes.as_slice())), merges)
}

fn check_model(model: &BpeModel) -> Result<(), (&'static str, String)> {
    if let Some(kind) = model.kind.as_deref().filter(|&kind| kind != "BPE") {
        return Err(("type", format!("{kind} is not supported; BPE is")));
    }
    if model.dropout.is_some_and(|dropout| dropout != 0.0) {
        return Err(("dropout", "not supported: it makes ids random".to_owned()));
    }
    for (field, affix) in [
        ("continuing_subword_prefix", &model.continuing_subword_prefix),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
            return Err((field, format!("{} is not supported; byte-level tokenizers have none", quoted(affix))));
        }
    }
    Ok(())
}

fn check_added(added: &[AddedToken]) -> Result<(), (usize, String)> {
    for (index, token) in added.iter().enumerate() {
        let flags = [("single_word", token.single_word), ("lstrip", token.lstrip), ("rstrip", token.rstrip)];
        if let Some((flag, _)) = flags.into_iter().find(|(_, set)| *set) {
            return Err((index, format!("{} has the flag {flag}, which is not supported", quoted(&token.content))));
        }
    }
    // `tokenizers` looks for tokens that are not normalized first; that shows only where two of them can overlap.
    for (index, token) in added.iter().enumerate().filter(|(_, token)| token.normalized) {
        let other = added.iter().find(|other| !other.normalized && can_overlap(&other.content, &token.content));
        if let Some(other) = other {
            let (a, b) = (quoted(&token.content), quoted(&other.content));
            return Err((index, format!("{a} is normalized, {b} is not, and they can overlap: not supported")));
        }
    }
    Ok(())
}

/// Whether two strings can share characters of one text: one is inside the other, or an end of one begins the other.
fn can_overlap(a: &str, b: &str) -> bool {
    let tail_is_head =
        |tail: &str, head: &str| tail.char_indices().skip(1).any(|(at, _)| head.starts_with(&tail[at..]));
    a.contains(b) || b.contains(a) || tail_is_head(a, b) || tail_is_head(b, a)
}

fn byte_tokens(ids: &Ids<'_>, path: &Path) -> Result<Vec<(u32, Vec<u8>)>, Error> {
    let spelled = |(text, id): (&str, u32)| match byte_level::to_bytes(text) {
        Ok(bytes) => Ok((id, bytes)),
        Err(c) => {
            let problem = format!("{c:?} is not of the byte-level alphabet, nor is this an added token");
            Err(wrong(path, format!("model.vocab[{}]", quoted(text)), problem))
        }
    };
    ids.ordinary().map(spelled).collect()
}

/// The vocabulary of the model without the added tokens, which most files list in it too.
struct Ids<'a> {
    entries: &'a [(String, u32)],
    special: HashMap<&'a str, u32>,
    by_text: HashMap<&'a str, u32>,
}

impl<'a> Ids<'a> {
    fn new(vocab: &'a Entries, special: &'a [(String, u32)], path: &Path) -> Result<Self, Error> {
        let special: HashMap<&str, u32> = special.iter().map(|(text, id)| (text.as_str(), *id)).collect();
        let mut by_text = HashMap::with_capacity(vocab.0.len());
        for (text, id) in &vocab.0 {
            let place = || format!("model.vocab[{}]", quoted(text));
            if by_text.insert(text.as_str(), *id).is_some() {
                return Err(wrong(path, place(), "the token is listed twice"));
            }
            if let Some(other) = special.get(text.as_str()).filter(|other| *other != id) {
                return Err(wrong(path, place(), format!("id {id} here, but {other} in added_tokens")));
            }
        }
        Ok(Self { entries: &vocab.0, special, by_text })
    }

    fn ordinary(&self) -> impl Iterator<Item = (&'a str, u32)> {
        let entries = self.entries.iter().map(|(text, id)| (text.as_str(), *id));
        entries.filter(|(text, _)| !self.special.contains_key(text))
    }

    fn merges(&self, pairs: &[Pair], path: &Path) -> Result<Vec<Merge>, Error> {
        let mut joined = String::new();
        let mut by_ids = |Pair(left, right): &Pair| {
            let id = |text: &str| {
                let found = self.by_text.get(text).filter(|_| !self.special.contains_key(text));
                found.copied().ok_or_else(|| format!("{} is not in the vocabulary", quoted(text)))
            };
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            Ok(Merge { left: id(left)?, right: id(right)?, merged: id(&joined)? })
        };
        let numbered = pairs.iter().enumerate();
        numbered
            .map(|(rank, pair)| {
                by_ids(pair).map_err(|problem: String| wrong(path, format!("model.merges[{rank}]"), problem))
            })
            .collect()
    }
}
