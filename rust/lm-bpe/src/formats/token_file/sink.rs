//! The file of ids as it grows, and the facts that are told about it.
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::error::io;
use super::super::files::Unfinished;
use super::window::Encoded;
use super::{Layout, Written};
use crate::Error;
use crate::ids::{Ids, Packed};

pub(super) struct Sink<'a> {
    layout: &'a Layout,
    target: Output,
    ends: Option<Output>,
    hash: Sha256,
    written: Written,
    /// Whether the document at hand has text already.
    begun: bool,
}

impl<'a> Sink<'a> {
    pub(super) fn new(target: &Path, ends: Option<&Path>, layout: &'a Layout) -> Result<Self, Error> {
        let target = Output::new(target)?;
        let ends = ends.map(Output::new).transpose()?;
        Ok(Self { layout, target, ends, hash: Sha256::new(), written: Written::default(), begun: false })
    }

    /// The next window of the text.
    pub(super) fn write(&mut self, encoded: &Encoded) -> Result<(), Error> {
        if encoded.closes {
            self.end_document()?;
        }
        let before = self.written.tokens;
        self.write_bytes(&encoded.bytes)?;
        self.written.tokens += encoded.tokens;
        self.written.text_bytes += encoded.text_bytes;
        self.written.largest_id = self.written.largest_id.max(encoded.largest_id);
        for end in &encoded.ends {
            self.note_end(before + end)?;
        }
        let separated = encoded.closes || !encoded.ends.is_empty();
        self.begun = encoded.open || (self.begun && !separated);
        Ok(())
    }

    /// Ends the document at hand, if it has text.
    pub(super) fn end_document(&mut self) -> Result<(), Error> {
        if !self.begun {
            return Ok(());
        }
        self.begun = false;
        if let Some(id) = self.layout.append {
            let mut ids = Packed::new(self.layout.wide, Vec::new());
            ids.add(&[id]);
            self.write_bytes(&ids.into_bytes())?;
            self.written.tokens += 1;
            self.written.largest_id = self.written.largest_id.max(Some(id));
        }
        self.note_end(self.written.tokens)
    }

    fn note_end(&mut self, tokens: u64) -> Result<(), Error> {
        self.written.documents += 1;
        match &mut self.ends {
            Some(ends) => ends.write(&tokens.to_le_bytes()),
            None => Ok(()),
        }
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hash.update(bytes);
        self.target.write(bytes)?;
        self.written.bytes += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Written, Error> {
        let mut written = self.written;
        written.sha256 = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(ends) = self.ends {
            ends.finish()?;
        }
        self.target.finish()?;
        Ok(written)
    }
}

/// The bytes of a window go past the buffer; it is for ends of documents and ids between windows.
const NEARLY_NOTHING: usize = 1 << 14;

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
        Ok(Self { path: path.to_owned(), file: BufWriter::with_capacity(NEARLY_NOTHING, file), unfinished })
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
