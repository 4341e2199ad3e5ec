//! Raw files of ids: little-endian u16 or u32 in a row, no header. What nanoGPT, litgpt and OLMo read, and
//! `numpy.memmap`; what they hold is said elsewhere (`dataset.json`).
//!
//! [`encode`] turns text files of any size into one, a window of text at a time. A document ends at a separator, or
//! with its file. A long document is cut only where its pretokens allow it, so the ids are those of the whole.
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::{io, wrong};
use super::files::Unfinished;
use crate::{EncoderPool, Error, Part, Pattern, Progress, SpecialTokens, Windows};

/// Text that is read, encoded and written at a time. Memory is a few times this, whatever the files' sizes: more only
/// for a text that has no place to be cut in so many bytes.
const WINDOW: usize = 8 << 20;

/// What is written, and how documents are told apart.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// u32 instead of u16. Ids that do not fit into u16 are refused before anything is written.
    pub wide: bool,
    /// Text between documents, cut out. Without one each file is a document.
    pub separator: Option<String>,
    /// An id to add after every document.
    pub append: Option<u32>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub tokens: u64,
    pub documents: u64,
    pub largest_id: Option<u32>,
    /// Bytes of text, separators left out.
    pub text_bytes: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Of the file, in hexadecimal.
    pub sha256: String,
}

/// Encodes `sources` (`-` is standard input) into `target` and, with `ends`, the place in tokens where each document
/// ends as little-endian u64. Both files appear whole, or not at all. Documents without text are left out, and special
/// tokens in text are ordinary text.
///
/// `progress` is given the bytes read so far, and asked at least ten times a second.
pub fn encode(
    pool: &mut EncoderPool,
    sources: &[PathBuf],
    target: &Path,
    ends: Option<&Path>,
    layout: &Layout,
    progress: &mut Progress<'_>,
) -> Result<Written, Error> {
    let vocabulary = Arc::clone(pool.encoders(1)[0].vocabulary());
    let bound = vocabulary.id_bound();
    if !layout.wide && bound > 1 << 16 {
        return Err(wrong(target, "", format!("u16 holds ids below 65536, but those here go up to {}", bound - 1)));
    }
    let separator: Vec<(String, u32)> = layout.separator.iter().map(|text| (text.clone(), 0)).collect();
    let separator = SpecialTokens::new(&separator)?;
    // A character-level tokenizer may be cut wherever a pattern may.
    let pattern = vocabulary.pattern().unwrap_or(Pattern::Gpt2);
    let mut sink = Sink::new(target, ends, layout)?;
    let mut window = Vec::new();
    let mut read = 0;
    for source in sources {
        let fail = |error: &std::io::Error| io(source, error);
        let file: Box<dyn Read> = match source.to_str() {
            Some("-") => Box::new(std::io::stdin().lock()),
            _ => Box::new(File::open(source).map_err(|error| fail(&error))?),
        };
        let mut windows = Windows::new(file, pattern, &separator, WINDOW);
        while windows.next(&mut window).map_err(|error| fail(&error))? {
            read += window.len() as u64;
            let parts: Vec<Part<'_>> = separator.split(&window).collect();
            let texts: Vec<&[u8]> = parts.iter().filter_map(text_of).collect();
            let mut failed = Ok(());
            let mut ahead = parts.iter();
            let mut current = None; // the text that `ahead` has passed last
            let encoded =
                pool.encode_each(&texts, &SpecialTokens::default(), 0, &mut |_| progress(read), &mut |text, ids| {
                    while current != Some(text) && failed.is_ok() {
                        match ahead.next() {
                            Some(Part::Text(text)) => {
                                sink.begin(text);
                                current = Some(current.map_or(0, |current| current + 1));
                            }
                            Some(Part::Special(_)) => failed = sink.end_document(),
                            None => break,
                        }
                    }
                    if failed.is_ok() {
                        failed = sink.write(ids);
                    }
                });
            encoded.map_err(|(_, error)| in_file(source, error))?;
            failed?;
            for _ in ahead.filter(|part| matches!(part, Part::Special(_))) {
                sink.end_document()?;
            }
        }
        sink.end_document()?;
    }
    sink.finish()
}

fn text_of<'a>(part: &Part<'a>) -> Option<&'a [u8]> {
    match part {
        Part::Text(text) => Some(text),
        Part::Special(_) => None,
    }
}

/// Names the file in an error about its text.
fn in_file(source: &Path, error: Error) -> Error {
    match error {
        Error::UnknownCharacter { .. } | Error::NotUtf8 { .. } => wrong(source, "", error.to_string()),
        other => other,
    }
}

struct Sink<'a> {
    layout: &'a Layout,
    target: Output,
    ends: Option<Output>,
    hash: Sha256,
    written: Written,
    /// Whether the document at hand has text already.
    begun: bool,
    bytes: Vec<u8>,
}

impl<'a> Sink<'a> {
    fn new(target: &Path, ends: Option<&Path>, layout: &'a Layout) -> Result<Self, Error> {
        let target = Output::new(target)?;
        let ends = ends.map(Output::new).transpose()?;
        let (hash, written) = (Sha256::new(), Written::default());
        Ok(Self { layout, target, ends, hash, written, begun: false, bytes: Vec::new() })
    }

    /// More text of the document at hand.
    fn begin(&mut self, text: &[u8]) {
        self.begun = true;
        self.written.text_bytes += text.len() as u64;
    }

    fn write(&mut self, ids: &[u32]) -> Result<(), Error> {
        const MANY: usize = 1 << 14; // ids whose bytes stay near the processor from here to the file
        for ids in ids.chunks(MANY) {
            let width = if self.layout.wide { 4 } else { 2 };
            self.bytes.resize(width * ids.len(), 0);
            if self.layout.wide {
                self.bytes
                    .chunks_exact_mut(4)
                    .zip(ids)
                    .for_each(|(bytes, id)| bytes.copy_from_slice(&id.to_le_bytes()));
            } else {
                let narrow = |id: &u32| (*id as u16).to_le_bytes();
                self.bytes.chunks_exact_mut(2).zip(ids).for_each(|(bytes, id)| bytes.copy_from_slice(&narrow(id)));
            }
            self.written.largest_id = self.written.largest_id.max(ids.iter().max().copied());
            self.written.tokens += ids.len() as u64;
            self.written.bytes += self.bytes.len() as u64;
            self.hash.update(&self.bytes);
            self.target.write(&self.bytes)?;
        }
        Ok(())
    }

    /// Ends the document at hand, if it has text.
    fn end_document(&mut self) -> Result<(), Error> {
        if !self.begun {
            return Ok(());
        }
        if let Some(id) = self.layout.append {
            self.write(&[id])?;
        }
        self.written.documents += 1;
        self.begun = false;
        match &mut self.ends {
            Some(ends) => ends.write(&self.written.tokens.to_le_bytes()),
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<Written, Error> {
        let mut written = self.written;
        written.sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(ends) = self.ends {
            ends.finish()?;
        }
        self.target.finish()?;
        Ok(written)
    }
}

/// A file that is written aside and takes its name when it is whole.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    unfinished: Unfinished,
}

impl Output {
    fn new(path: &Path) -> Result<Self, Error> {
        let unfinished = Unfinished::beside(path)?;
        let file = File::create(unfinished.path()).map_err(|error| io(path, &error))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::with_capacity(1 << 18, file), unfinished })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| io(&self.path, &error))
    }

    fn finish(self) -> Result<(), Error> {
        let file = self.file.into_inner().map_err(|error| io(&self.path, error.error()))?;
        file.sync_all().map_err(|error| io(&self.path, &error))?;
        self.unfinished.rename_to(&self.path)
    }
}
