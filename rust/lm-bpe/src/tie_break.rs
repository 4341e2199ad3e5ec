//! Which of several pairs with the highest count is merged. The rules differ in nothing else.

use crate::error::Error;

/// How the trainer chooses among pairs of equal count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TieBreak {
    /// As Hugging Face's `tokenizers`: the smaller (id, id), where the ids of bytes follow the code points of their
    /// `ByteLevel` characters (0x21-0x7e, 0xa1-0xac, 0xae-0xff, then 0x00-0x20, 0x7f-0xa0, 0xad) and those of merges
    /// the order of creation. Gives its merge list, but for what its 32-bit counts get wrong.
    HuggingFace,
    /// The smaller (id, id), where a byte's id is its value: rustbpe, minbpe.
    Ids,
    /// The lexicographically greater (bytes, bytes): the rule of Stanford's CS336.
    Greatest,
}

impl TieBreak {
    /// `huggingface`, `ids` or `greatest`.
    pub fn name(self) -> &'static str {
        match self {
            Self::HuggingFace => "huggingface",
            Self::Ids => "ids",
            Self::Greatest => "greatest",
        }
    }

    /// The rule of that name.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        [Self::HuggingFace, Self::Ids, Self::Greatest]
            .into_iter()
            .find(|rule| rule.name() == name)
            .ok_or_else(|| Error::UnknownTieBreak { name: name.to_string() })
    }
}

/// The place of each byte in the order of the `ByteLevel` characters.
pub(crate) fn byte_level_order() -> [u32; 256] {
    let visible = |byte: &u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut order = [0; 256];
    let (first, last): (Vec<u8>, Vec<u8>) = (0..=255).partition(visible);
    for (place, byte) in first.into_iter().chain(last).enumerate() {
        order[usize::from(byte)] = place as u32;
    }
    order
}
