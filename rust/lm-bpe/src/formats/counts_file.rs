//! Counted pretokens as a file, so that many machines can count and one can train.
//!
//! A line `lm-tokenizer counts 1`; a line of JSON with `pattern` and `special_tokens`; then, ascending by bytes, each
//! pretoken as its count (u64), its length (u32) and its bytes, little-endian; last the SHA-256 of all that.
//! Equal counts give equal files.
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{io, json, quoted, wrong};
use super::files::write_bytes;
use crate::{Error, Pattern, PretokenCounts};

const FIRST_LINE: &str = "lm-tokenizer counts 1\n";
const DIGEST: usize = 32;

/// Counts, and how the text was cut that they were made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountsFile {
    pub pattern: Pattern,
    /// The special tokens that were cut out.
    pub special_tokens: Vec<String>,
    pub counts: PretokenCounts,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    pattern: String,
    special_tokens: Vec<String>,
}

/// Writes the file, whole or not at all. O(n log n).
pub fn write(file: &CountsFile, path: &Path) -> Result<(), Error> {
    let header = Header { pattern: file.pattern.name().to_owned(), special_tokens: file.special_tokens.clone() };
    let mut content = FIRST_LINE.as_bytes().to_vec();
    serde_json::to_writer(&mut content, &header).map_err(|error| json(path, &error))?;
    content.push(b'\n');
    for (pretoken, count) in file.counts.sorted() {
        content.extend(count.to_le_bytes());
        content.extend((pretoken.len() as u32).to_le_bytes());
        content.extend(pretoken);
    }
    let digest = Sha256::digest(&content);
    content.extend(digest);
    write_bytes(path, &content)
}

/// Reads the file; one that is damaged or cut short is refused. O(bytes).
pub fn read(path: &Path) -> Result<CountsFile, Error> {
    let content = fs::read(path).map_err(|error| io(path, &error))?;
    let whole = |problem: &str| wrong(path, "", problem);
    let Some(after_first) = content.strip_prefix(FIRST_LINE.as_bytes()) else {
        return Err(wrong(path, "line 1", format!("not a file of counts: wanted {}", quoted(FIRST_LINE))));
    };
    let Some(rest) = after_first.len().checked_sub(DIGEST) else {
        return Err(whole("the file is cut short"));
    };
    let (body, digest) = content.split_at(FIRST_LINE.len() + rest);
    if Sha256::digest(body).as_slice() != digest {
        return Err(whole("the file is damaged or cut short: its SHA-256 is not the one at its end"));
    }
    let mut lines = body[FIRST_LINE.len()..].splitn(2, |&byte| byte == b'\n');
    let (header, mut entries) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let header: Header = serde_json::from_slice(header).map_err(|error| json(path, &error))?;
    let pattern = Pattern::from_name(&header.pattern).map_err(|error| wrong(path, "pattern", error.to_string()))?;
    let mut counts = PretokenCounts::new();
    while !entries.is_empty() {
        let at = body.len() - entries.len();
        let (pretoken, count, after) =
            entry(entries).ok_or_else(|| wrong(path, format!("byte {at}"), "an entry that reaches past the end"))?;
        counts.add(pretoken, count);
        entries = after;
    }
    Ok(CountsFile { pattern, special_tokens: header.special_tokens, counts })
}

fn entry(bytes: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    let (count, bytes) = bytes.split_first_chunk::<8>()?;
    let (length, bytes) = bytes.split_first_chunk::<4>()?;
    let (pretoken, bytes) = bytes.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((pretoken, u64::from_le_bytes(*count), bytes))
}
