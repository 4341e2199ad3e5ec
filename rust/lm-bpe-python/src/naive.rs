//! Stand-in until the core's encoder is there.
use std::collections::HashMap;

use lm_bpe::{Error, Model, Vocabulary};

pub struct Encoder {
    ranks: HashMap<(u32, u32), (u32, u32)>,
}

impl Encoder {
    pub fn new(vocabulary: &Vocabulary) -> Self {
        let ranks = vocabulary
            .merges()
            .iter()
            .enumerate()
            .map(|(rank, m)| ((m.left, m.right), (rank as u32, m.merged)))
            .collect();
        Self { ranks }
    }

    pub fn encode(&self, vocabulary: &Vocabulary, text: &[u8], out: &mut Vec<u32>) -> Result<(), Error> {
        let Some(pattern) = vocabulary.pattern() else {
            let valid = std::str::from_utf8(text).map_err(|e| Error::NotUtf8 { position: e.valid_up_to() })?;
            for (position, c) in valid.char_indices() {
                let mut buffer = [0; 4];
                let id = vocabulary.id_of(c.encode_utf8(&mut buffer).as_bytes());
                out.push(id.ok_or(Error::UnknownCharacter { character: c, position })?);
            }
            return Ok(());
        };
        let whole = matches!(vocabulary.model(), Model::Bpe { ignore_merges: true, .. });
        for pretoken in pattern.pretokens(text) {
            if let Some(id) = vocabulary.id_of(pretoken).filter(|_| whole) {
                out.push(id);
                continue;
            }
            let mut ids: Vec<u32> = pretoken.iter().map(|&b| vocabulary.id_of(&[b]).unwrap_or_default()).collect();
            loop {
                let best = (1..ids.len())
                    .filter_map(|at| self.ranks.get(&(ids[at - 1], ids[at])).map(|&(rank, id)| (rank, at, id)))
                    .min();
                let Some((_, at, id)) = best else { break };
                ids[at - 1] = id;
                ids.remove(at);
            }
            out.extend(ids);
        }
        Ok(())
    }
}

/// Leftmost, then longest.
pub fn find(tokens: &[(&str, u32)], text: &str, from: usize) -> Option<(usize, usize, u32)> {
    tokens
        .iter()
        .filter_map(|(token, id)| text[from..].find(token).map(|at| (from + at, token.len(), *id)))
        .min_by_key(|&(at, length, _)| (at, usize::MAX - length))
        .map(|(at, length, id)| (at, at + length, id))
}
