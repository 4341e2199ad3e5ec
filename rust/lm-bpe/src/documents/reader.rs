//! Text files in order, as blocks of documents: separators found or JSON lines read, UTF-8 checked, text counted and hashed.
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memchr;
use memchr::memmem::Finder;
use sha2::{Digest, Sha256};

use super::lines::{Fault, JsonLines};
use super::{Documents, Piece};
use crate::formats::error::{io, wrong};
use crate::open::{open_counted, without_compression};
use crate::{Error, Pattern};

/// Blocks whose memory is kept in mind.
const LENT: usize = 4;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the documents of text files, which may be compressed (by their names), a block at a time.
///
/// A document ends at each separator and at the end of its file; with a `field`, each line of a `.jsonl` or `.ndjson` file
/// is one, whose text is in that field of a JSON object. The one line end (LF or CR LF) that may follow a
/// separator is not part of the text, nor is a byte order mark at the start of a file. What holds no character but
/// white space is no document. A document that does not end within a block is cut at a place where every pattern ends a
/// pretoken. The same files give the same blocks.
///
/// Memory: a block, longer only where a text has no place to be cut, or for one JSON line.
pub struct DocumentReader {
    files: std::vec::IntoIter<PathBuf>,
    field: Option<Arc<str>>,
    /// In a box: it holds vectors of 32 bytes, and the memory of a Python object is aligned to 16.
    separator: Option<Box<Finder<'static>>>,
    block: usize,
    hash: Option<Sha256>,
    documents: u64,
    text_bytes: u64,
    source: Option<Source>,
    path: PathBuf,
    line: u64,
    file_bytes: Arc<AtomicU64>,
    /// The memory of blocks that were given out, to be used again when they are gone: fresh memory costs a tenth of the time.
    lent: Vec<Arc<Vec<u8>>>,
}

/// The file at hand.
enum Source {
    Text(Text),
    Lines(JsonLines),
}

struct Text {
    opened: Box<dyn Read + Send>,
    /// What is read and not given out yet, and its place in the file.
    rest: Vec<u8>,
    offset: u64,
    /// `rest` begins behind a separator: a line end may follow, which is left out.
    after_separator: bool,
    /// Part of the document at hand was given out.
    inside: bool,
}

impl DocumentReader {
    /// `block`: bytes of a block, as a rule. `hashed`: whether [`DocumentReader::sha256`] is wanted.
    pub fn new(files: Vec<PathBuf>, separator: Option<&str>, field: Option<&str>, block: usize, hashed: bool) -> Self {
        let separator = separator.filter(|text| !text.is_empty());
        Self {
            files: files.into_iter(),
            field: field.map(Arc::from),
            separator: separator.map(|text| Box::new(Finder::new(text.as_bytes()).into_owned())),
            block: block.max(1),
            hash: hashed.then(Sha256::new),
            documents: 0,
            text_bytes: 0,
            source: None,
            path: PathBuf::new(),
            line: 0,
            file_bytes: Arc::default(),
            lent: Vec::new(),
        }
    }

    /// The next block; `None` at the end. Fails with [`Error::Io`], or with [`Error::Format`] at a byte that is NUL or
    /// no UTF-8, or a line that is no JSON object with a string in the field; after an error there is no sense in going on.
    #[expect(clippy::should_implement_trait, reason = "it fails")]
    pub fn next(&mut self) -> Result<Option<Documents>, Error> {
        let (mut text, mut pieces) = (self.memory(), Vec::new());
        while text.len() < self.block || pieces.is_empty() {
            if pieces.is_empty() {
                text.clear(); // white space that is no document
            }
            let full = match self.opened()? {
                None => break,
                Some(Source::Text(source)) => self.read(source, &mut text, &mut pieces)?,
                Some(Source::Lines(source)) => self.read_lines(source, &mut text, &mut pieces)?,
            };
            if full {
                break;
            }
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        let text = Arc::new(text);
        if self.lent.len() < LENT {
            self.lent.push(Arc::clone(&text));
        }
        Ok(Some(Documents::new(text, pieces)))
    }

    /// Empty memory for a block.
    fn memory(&mut self) -> Vec<u8> {
        let free = self.lent.iter().position(|text| Arc::strong_count(text) == 1);
        let freed = free.and_then(|place| Arc::into_inner(self.lent.swap_remove(place)));
        freed.map_or_else(
            || Vec::with_capacity(self.block),
            |mut text| {
                text.clear();
                text
            },
        )
    }

    /// Documents that have ended so far.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Bytes of text given out so far.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Of the text given out so far, in hexadecimal, a byte FF (which is in no UTF-8) after each document that has ended.
    pub fn sha256(&self) -> Option<String> {
        let hash = self.hash.clone()?.finalize();
        Some(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Bytes of the files read so far, as they lie on the disk.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// The file that is, or was last, read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line of it, from 1, that is at fault; 0 where it has no lines.
    pub fn line(&self) -> u64 {
        self.line
    }

    fn opened(&mut self) -> Result<Option<Source>, Error> {
        if let Some(source) = self.source.take() {
            return Ok(Some(source));
        }
        let Some(path) = self.files.next() else { return Ok(None) };
        (self.path, self.line) = (path, 0);
        let opened = open_counted(&self.path, &self.file_bytes).map_err(|error| io(&self.path, &error))?;
        let kind = without_compression(&self.path).extension().map(|kind| kind.to_ascii_lowercase());
        Ok(Some(match &self.field {
            Some(field) if kind.is_some_and(|kind| kind == "jsonl" || kind == "ndjson") => {
                Source::Lines(JsonLines::new(opened, Arc::clone(field)))
            }
            _ => Source::Text(Text { opened, rest: Vec::new(), offset: 0, after_separator: false, inside: false }),
        }))
    }

    /// Appends the documents of some lines; `true` if the block is full.
    fn read_lines(
        &mut self,
        mut source: JsonLines,
        text: &mut Vec<u8>,
        pieces: &mut Vec<Piece>,
    ) -> Result<bool, Error> {
        while text.len() < self.block {
            let found = source.next().map_err(|fault| match fault {
                Fault::Unread(error) => io(&self.path, &error),
                Fault::Line { number, problem } => {
                    self.line = number;
                    wrong(&self.path, format!("line {number}"), problem)
                }
            })?;
            let Some(found) = found else { return Ok(false) };
            if !is_blank(&found) {
                let start = text.len();
                text.extend_from_slice(found.as_bytes());
                self.take(text, Piece { range: start..text.len(), last: true }, pieces);
            }
        }
        self.source = Some(Source::Lines(source));
        Ok(true)
    }

    /// Appends text of `source` and its pieces; `true` if no more of it goes into this block.
    fn read(&mut self, mut source: Text, text: &mut Vec<u8>, pieces: &mut Vec<Piece>) -> Result<bool, Error> {
        let width = self.separator.as_ref().map_or(0, |separator| separator.needle().len());
        let first = text.len(); // byte `source.offset` of the file
        text.append(&mut source.rest);
        let (mut start, mut searched) = (first, first); // of the document at hand, and of what may hold a separator
        loop {
            let wanted = self.block.saturating_sub(text.len()).max(text.len() - first).max(1 << 10);
            let got = source.opened.by_ref().take(wanted as u64).read_to_end(text);
            let ended = got.map_err(|error| io(&self.path, &error))? < wanted;
            if source.offset == 0 && start == first && text[first..].starts_with(BYTE_ORDER_MARK) {
                start += BYTE_ORDER_MARK.len();
                searched = start;
            }
            while let Some(separator) = &self.separator
                && let Some(found) = separator.find(&text[searched..])
            {
                let end = searched + found;
                self.piece(&mut source, text, (first, start..end), true, pieces)?;
                (start, searched) = (end + width, end + width);
                source.after_separator = true;
            }
            if ended {
                self.piece(&mut source, text, (first, start..text.len()), true, pieces)?;
                return Ok(false);
            }
            // A separator, or a line end behind one, may have been read in part.
            searched = start.max((text.len() + 1).saturating_sub(width));
            let known = text.len().saturating_sub(width + 2);
            let begin = start + line_end(&source, &text[start..]);
            let cut = known.checked_sub(begin).and_then(|from| Pattern::Gpt2.previous_cut(&text[begin..], from));
            if let Some(cut) = cut {
                self.piece(&mut source, text, (first, start..begin + cut), false, pieces)?;
                start = begin + cut;
            }
            if cut.is_some() || !pieces.is_empty() {
                source.offset += (start - first) as u64;
                source.rest = text[start..].to_vec();
                text.truncate(start);
                self.source = Some(Source::Text(source));
                return Ok(true);
            }
        }
    }

    /// Checks a document, or the part of one that can be given out now, and takes it. `first` is the place of the source's byte `offset`.
    fn piece(
        &mut self,
        source: &mut Text,
        text: &[u8],
        (first, range): (usize, Range<usize>),
        last: bool,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), Error> {
        let start = range.start + line_end(source, &text[range.clone()]);
        let place = |at: usize| format!("byte {}", source.offset + (range.start - first + at) as u64);
        let bytes = &text[range.clone()];
        let string = std::str::from_utf8(bytes)
            .map_err(|error| wrong(&self.path, place(error.valid_up_to()), "it is no UTF-8 text"))?;
        if let Some(at) = memchr(0, bytes) {
            return Err(wrong(&self.path, place(at), "it is no text: this byte is NUL"));
        }
        let kept = source.inside || !last || !is_blank(&string[start - range.start..]);
        (source.after_separator, source.inside) = (false, kept && !last);
        if kept {
            self.take(text, Piece { range: start..range.end, last }, pieces);
        }
        Ok(())
    }

    /// Counts, hashes and keeps a piece of `text`.
    fn take(&mut self, text: &[u8], piece: Piece, pieces: &mut Vec<Piece>) {
        if let Some(hash) = &mut self.hash {
            hash.update(&text[piece.range.clone()]);
            if piece.last {
                hash.update([0xff]);
            }
        }
        self.text_bytes += piece.range.len() as u64;
        self.documents += u64::from(piece.last);
        pieces.push(piece);
    }
}

/// The bytes of a line end that is left out at the start of `text`.
fn line_end(source: &Text, text: &[u8]) -> usize {
    match text {
        [b'\n', ..] if source.after_separator => 1,
        [b'\r', b'\n', ..] if source.after_separator => 2,
        _ => 0,
    }
}

/// Whether there is no character but white space, as Python's `str.isspace` has it: Unicode's, and the separators of ASCII.
fn is_blank(text: &str) -> bool {
    text.chars().all(|character| character.is_whitespace() || matches!(character, '\x1c'..='\x1f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documents of one text by their definition.
    fn naive(text: &str, separator: &str) -> Vec<String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parts = text.split(separator).enumerate().map(|(index, part)| {
            let inner = part.strip_prefix("\r\n").or(part.strip_prefix('\n'));
            if index > 0 { inner.unwrap_or(part) } else { part }
        });
        parts.filter(|part| !part.trim().is_empty()).map(str::to_owned).collect()
    }

    fn read(path: &Path, separator: &str, block: usize) -> (Vec<String>, DocumentReader) {
        let mut reader = DocumentReader::new(vec![path.to_owned()], Some(separator), None, block, true);
        let (mut documents, mut inside) = (Vec::new(), false);
        while let Some(block) = reader.next().unwrap() {
            assert!(!block.pieces().is_empty());
            for piece in block.pieces() {
                let text = std::str::from_utf8(block.bytes(piece)).unwrap();
                if !inside {
                    documents.push(String::new());
                }
                documents.last_mut().unwrap().push_str(text);
                inside = !piece.last;
            }
        }
        assert!(!inside);
        (documents, reader)
    }

    #[test]
    fn documents_are_those_of_the_definition_whatever_the_block() {
        let parts = ["a b ", "\n", "\r\n", "<|>", "<|><|>", "é", "<", "|", " \u{1f600} wor", "ds of text\n", "  ", "x"];
        let path = std::env::temp_dir().join(format!("lm-bpe-documents-{}", std::process::id()));
        for seed in 0..60u32 {
            let mut text = if seed % 9 == 0 { "\u{feff}".to_owned() } else { String::new() };
            let mut state = seed;
            for _ in 0..seed * 2 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push_str(parts[(state >> 16) as usize % parts.len()]);
            }
            std::fs::write(&path, &text).unwrap();
            for separator in ["<|>", "\n", "\n\n"] {
                let wanted = naive(&text, separator);
                let hashed: Vec<u8> = wanted.iter().flat_map(|text| [text.as_bytes(), &[0xff]].concat()).collect();
                let sha256: String = Sha256::digest(&hashed).iter().map(|byte| format!("{byte:02x}")).collect();
                for block in [1, 7, 64, 1 << 20] {
                    let (found, reader) = read(&path, separator, block);
                    assert_eq!(found, wanted, "{text:?} {separator:?} {block}");
                    assert_eq!(reader.sha256().unwrap(), sha256);
                    let bytes: usize = wanted.iter().map(String::len).sum();
                    assert_eq!((reader.documents(), reader.text_bytes()), (wanted.len() as u64, bytes as u64));
                }
            }
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_byte_that_is_no_text_is_named_with_its_place_in_the_file() {
        let path = std::env::temp_dir().join(format!("lm-bpe-no-text-{}", std::process::id()));
        let good = "words of text. <|>\n".repeat(200);
        for (bad, problem) in [(&b"\xff"[..], "no UTF-8"), (b"\0", "NUL"), (b"\xe2\x82", "no UTF-8")] {
            for after in ["", "<|>", " words of text"] {
                let text = [good.as_bytes(), bad, after.as_bytes()].concat();
                std::fs::write(&path, text).unwrap();
                let mut reader = DocumentReader::new(vec![path.clone()], Some("<|>"), None, 1000, false);
                let error = loop {
                    match reader.next() {
                        Ok(block) => assert!(block.is_some(), "it ended well"),
                        Err(error) => break error.to_string(),
                    }
                };
                assert!(error.contains(&format!("byte {}", good.len())) && error.contains(problem), "{error}");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
