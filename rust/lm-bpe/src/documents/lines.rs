//! The documents of a file of JSON lines.
use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use memchr::memchr;

use crate::json_lines::{Lines, document};

/// Read at a time.
const WINDOW: usize = 1 << 18;

/// A file of JSON lines that is being read.
pub(super) struct JsonLines {
    field: Arc<str>,
    lines: Lines<Box<dyn Read + Send>>,
    /// Some whole lines, and the place in them to go on from.
    window: Vec<u8>,
    at: usize,
    /// Lines before that place.
    number: u64,
}

/// Why a document cannot be had.
pub(super) enum Fault {
    Unread(io::Error),
    /// What is wrong with a line, counted from 1.
    Line {
        number: u64,
        problem: String,
    },
}

impl JsonLines {
    pub(super) fn new(opened: Box<dyn Read + Send>, field: Arc<str>) -> Self {
        Self { field, lines: Lines::new(opened, WINDOW), window: Vec::new(), at: 0, number: 0 }
    }

    /// The text of the next line that is not blank; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Cow<'_, str>>, Fault> {
        let line = loop {
            if self.at == self.window.len() {
                self.at = 0;
                if !self.lines.next(&mut self.window).map_err(Fault::Unread)? {
                    return Ok(None);
                }
            }
            let start = self.at;
            let end = memchr(b'\n', &self.window[start..]).map_or(self.window.len(), |found| start + found);
            self.at = (end + 1).min(self.window.len());
            self.number += 1;
            if !self.window[start..end].trim_ascii().is_empty() {
                break start..end;
            }
        };
        let number = self.number;
        document(&self.window[line], &self.field).map(Some).map_err(|problem| Fault::Line { number, problem })
    }
}

#[cfg(test)]
mod tests {
    use crate::DocumentReader;

    #[test]
    fn json_lines_are_documents_whatever_the_block_beside_files_that_are_text() {
        let folder = std::env::temp_dir();
        let name = |kind| folder.join(format!("lm-bpe-lines-{}.{kind}", std::process::id()));
        let (lines, text) = (name("JSONL"), name("txt"));
        let long = "word ".repeat(100_000);
        let content = format!(
            "{{\"text\": \"a\\nb\\u0000\"}}\r\n\n \t\n{{\"text\":\" \\u2003\"}}\n{{\"text\":\"{long}\"}}\n{{\"n\":NaN,\"text\":\"\u{e9}\"}}"
        );
        std::fs::write(&lines, &content).unwrap();
        std::fs::write(&text, "c<|>d").unwrap();
        for block in [1, 7, 64, 1 << 20] {
            let files = vec![lines.clone(), text.clone(), lines.clone()];
            let mut reader = DocumentReader::new(files, Some("<|>"), Some("text"), block, true);
            let mut found = Vec::new();
            while let Some(block) = reader.next().unwrap() {
                for piece in block.pieces() {
                    assert!(piece.last);
                    found.push(String::from_utf8(block.bytes(piece).to_vec()).unwrap());
                }
            }
            assert_eq!(found, ["a\nb\0", &long, "\u{e9}", "c", "d", "a\nb\0", &long, "\u{e9}"], "{block}");
            assert_eq!((reader.documents(), reader.file_bytes()), (8, 2 * content.len() as u64 + 5));
        }
        std::fs::write(&lines, "{\"text\": \"a\"}\n\n{\"title\": \"b\"}").unwrap();
        let mut reader = DocumentReader::new(vec![lines.clone()], None, Some("text"), 1 << 20, true);
        let error = reader.next().unwrap_err().to_string();
        assert!(error.contains("line 3: the object has no field"), "{error}");
        assert_eq!((reader.line(), reader.path()), (3, &*lines));
        let mut reader = DocumentReader::new(vec![lines.clone()], None, None, 1 << 20, true);
        assert_eq!(
            (reader.next().unwrap().unwrap().pieces().len(), reader.line()),
            (1, 0),
            "without a field it is text"
        );
        for path in [lines, text] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
