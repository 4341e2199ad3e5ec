//! Errors about a file: each names the file, the place in it, and the fault.
use std::path::Path;

use crate::Error;

/// An error about one place of a file ("line 3", "model.merges[17]"); an empty `entry` is the whole file.
pub(crate) fn wrong(file: &Path, entry: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Format { file: file.display().to_string(), entry: entry.into(), problem: problem.into() }
}

/// The operating system's refusal to read or write `file`.
pub(crate) fn io(file: &Path, error: &std::io::Error) -> Error {
    Error::Io { path: file.display().to_string(), problem: error.to_string() }
}

/// A JSON text that is broken or has a wrong type somewhere.
pub(super) fn json(file: &Path, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or(&text);
    let problem = problem.replace("expected u32", "expected a whole number from 0 to 4294967295");
    let what = if error.is_data() { "" } else { "not JSON: " };
    wrong(file, format!("line {}, column {}", error.line(), error.column()), format!("{what}{problem}"))
}

/// `text` shortened for an error message, with unprintable characters escaped.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let escaped: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    let rest = if text.chars().nth(LONGEST).is_some() { "..." } else { "" };
    format!("\"{escaped}{rest}\"")
}

/// A token in an error message: as text where it is text.
pub(super) fn quoted_bytes(token: &[u8]) -> String {
    match std::str::from_utf8(token) {
        Ok(text) => quoted(text),
        Err(_) => format!("b{}", quoted(&token.escape_ascii().to_string())),
    }
}
