//! `Counts`: what the Python class `PretokenCounts` holds.
use std::path::Path;

use lm_bpe::formats::counts_file::{self, CountsFile};
use lm_bpe::{Pattern, PretokenCounts};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::errors::{text, to_python};
use crate::naive;

#[pyclass(module = "lm_tokenizer._rust")]
pub struct Counts {
    pub file: CountsFile,
}

#[pymethods]
impl Counts {
    #[new]
    fn new(py: Python<'_>, pattern: &str, special: Vec<String>) -> PyResult<Self> {
        let pattern = Pattern::from_name(pattern).map_err(|error| to_python(py, &error))?;
        Ok(Self { file: CountsFile { pattern, special_tokens: special, counts: PretokenCounts::new() } })
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: &str) -> PyResult<Self> {
        let read = py.detach(|| counts_file::read(Path::new(path)));
        read.map(|file| Self { file }).map_err(|error| to_python(py, &error))
    }

    fn save(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        py.detach(|| counts_file::write(&self.file, Path::new(path))).map_err(|error| to_python(py, &error))
    }

    fn add_texts(&mut self, py: Python<'_>, texts: Vec<Bound<'_, PyString>>) -> PyResult<()> {
        let texts: Vec<&str> = texts.iter().map(text).collect::<PyResult<_>>()?;
        py.detach(|| texts.into_iter().for_each(|text| self.count(text.as_bytes())));
        Ok(())
    }

    fn add_files(&mut self, py: Python<'_>, paths: Vec<String>, progress: Option<Py<PyAny>>) -> PyResult<()> {
        let _ = progress;
        for path in paths {
            let content = std::fs::read(&path)
                .map_err(|error| to_python(py, &lm_bpe::Error::Io { path: path.clone(), problem: error.to_string() }))?;
            self.count(&content);
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) {
        self.file.counts.merge(&other.file.counts);
    }

    fn equals(&self, other: &Self) -> bool {
        self.file == other.file
    }

    fn __len__(&self) -> usize {
        self.file.counts.len()
    }

    #[getter]
    fn total(&self) -> u64 {
        self.file.counts.total()
    }

    #[getter]
    fn pattern(&self) -> &'static str {
        self.file.pattern.name()
    }

    #[getter]
    fn special_tokens(&self) -> Vec<String> {
        self.file.special_tokens.clone()
    }

    fn items<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, u64)> {
        self.file.counts.sorted().into_iter().map(|(bytes, count)| (PyBytes::new(py, bytes), count)).collect()
    }
}

impl Counts {
    fn count(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let tokens: Vec<(&str, u32)> = self.file.special_tokens.iter().map(|token| (token.as_str(), 0)).collect();
        let mut from = 0;
        while let Some((start, end, _)) = naive::find(&tokens, &text, from) {
            self.file.counts.add_text(self.file.pattern, text[from..start].as_bytes());
            from = end;
        }
        self.file.counts.add_text(self.file.pattern, text[from..].as_bytes());
    }
}
