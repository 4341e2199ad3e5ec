//! `Reader` and `Documents`: text files as blocks of documents, and what is done with one. The words for users are in
//! `lm_tokenizer/documents.py`.
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lm_bpe::{DocumentReader, Error, encode_documents};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::core::Core;
use crate::counts::Counts;
use crate::encode::in_text;
use crate::errors::to_python;
use crate::ids::Buffer;
use crate::watch::Watch;

#[pyclass(frozen, module = "lm_tokenizer._rust")]
pub struct Reader(Mutex<DocumentReader>);

const _: () = assert!(align_of::<DocumentReader>() <= 16, "Python aligns its objects to 16 bytes");

impl Reader {
    fn reader(&self) -> MutexGuard<'_, DocumentReader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Reader {
    #[new]
    fn new(files: Vec<PathBuf>, separator: Option<&str>, field: Option<&str>, block: usize, hashed: bool) -> Self {
        Self(Mutex::new(DocumentReader::new(files, separator, field, block, hashed)))
    }

    fn next(&self, py: Python<'_>) -> PyResult<Option<Documents>> {
        let block = py.detach(|| self.reader().next()).map_err(|error| to_python(py, &error))?;
        Ok(block.map(Documents))
    }

    #[getter]
    fn documents(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.reader().documents())
    }

    #[getter]
    fn text_bytes(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.reader().text_bytes())
    }

    #[getter]
    fn sha256(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.reader().sha256())
    }

    #[getter]
    fn file_bytes(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.reader().file_bytes())
    }

    #[getter]
    fn line(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.reader().line())
    }

    #[getter]
    fn path(&self, py: Python<'_>) -> PathBuf {
        py.detach(|| self.reader().path().to_owned())
    }
}

#[pyclass(frozen, module = "lm_tokenizer._rust")]
pub struct Documents(lm_bpe::Documents);

#[pymethods]
impl Documents {
    fn __len__(&self) -> usize {
        self.0.pieces().len()
    }

    #[getter]
    fn ended(&self) -> usize {
        self.0.ended()
    }

    #[getter]
    fn text_bytes(&self) -> usize {
        self.0.text_bytes()
    }

    /// The bytes of the piece at `place`.
    fn bytes<'py>(&self, py: Python<'py>, place: usize) -> PyResult<Bound<'py, PyBytes>> {
        let piece = self.0.pieces().get(place).ok_or_else(|| PyIndexError::new_err("no such document here"))?;
        Ok(PyBytes::new(py, self.0.bytes(piece)))
    }

    /// Bytes of each piece.
    fn lengths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let lengths = self.0.pieces().iter().map(|piece| piece.range.len() as i64).collect();
        Buffer::offsets(lengths).into_view(py)
    }

    /// Bytes of text up to each end of a document.
    fn text_ends<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let mut done = 0;
        let mut ends = Vec::with_capacity(self.0.pieces().len());
        for piece in self.0.pieces() {
            done += piece.range.len() as i64;
            if piece.last {
                ends.push(done);
            }
        }
        Buffer::offsets(ends).into_view(py)
    }

    /// Those at the places that are chosen, and the others.
    fn split(&self, chosen: Vec<usize>) -> PyResult<(Self, Self)> {
        let mut marks = vec![false; self.0.pieces().len()];
        for place in chosen {
            *marks.get_mut(place).ok_or_else(|| PyIndexError::new_err("no such document here"))? = true;
        }
        let (chosen, others) = self.0.split(|place| marks[place]);
        Ok((Self(chosen), Self(others)))
    }

    fn split_at(&self, bytes: usize) -> (Self, Self) {
        let (first, rest) = self.0.split_at(bytes);
        (Self(first), Self(rest))
    }

    /// The bytes of the ids, where documents end in ids, and the largest id.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        core: &Core,
        append: Option<u32>,
        wide: bool,
        threads: usize,
    ) -> PyResult<(Bound<'py, PyMemoryView>, Bound<'py, PyMemoryView>, Option<u32>)> {
        let mut watch = Watch::new(None);
        let encoded = py.detach(|| {
            let tick = &mut |done| watch.at("encoding", done, None);
            core.pools.with(&core.vocabulary, |pool| encode_documents(pool, &self.0, append, wide, threads, tick))
        });
        let encoded = encoded.or_else(|(place, error)| {
            let interrupted = error == Error::Interrupted;
            let error = watch.end(py, Err(error));
            if interrupted { error } else { error.map_err(|error| in_text(py, place, error)) }
        })?;
        let ends = Buffer::offsets(encoded.ends).into_view(py)?;
        Ok((Buffer::bytes(encoded.bytes).into_view(py)?, ends, encoded.largest_id))
    }

    /// Adds their pretokens to `counts`.
    fn count(&self, py: Python<'_>, counts: &mut Counts) -> PyResult<()> {
        counts.add_documents(py, &self.0)
    }
}
