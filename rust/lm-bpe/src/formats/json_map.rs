//! A JSON object `{"token": id, ...}` as a list in the file's order, so that an entry that comes twice is not lost.
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// The entries of a vocabulary, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Entries(pub Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of tokens and their ids")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<String, u32>()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// `text` as a JSON string, quotes included.
pub(super) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
