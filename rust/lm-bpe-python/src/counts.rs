//! `Counts`: what the Python class `PretokenCounts` holds.
use std::path::{Path, PathBuf};

use lm_bpe::formats::counts_file::{self, CountsFile};
use lm_bpe::{
    CountOptions, Error, Pattern, PretokenCounts, Progress, SpecialTokens, count_files, count_stream, count_texts,
    is_compressed,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::errors::{text, to_python};
use crate::watch::Watch;

#[pyclass(module = "lm_tokenizer._rust")]
pub struct Counts {
    pub file: CountsFile,
    options: CountOptions,
}

#[pymethods]
impl Counts {
    #[new]
    fn new(py: Python<'_>, pattern: &str, special: Vec<String>) -> PyResult<Self> {
        let made = Pattern::from_name(pattern).and_then(|pattern| {
            Self::of(CountsFile { pattern, special_tokens: special, counts: PretokenCounts::new() })
        });
        made.map_err(|error| to_python(py, &error))
    }

    #[staticmethod]
    fn load(py: Python<'_>, path: &str) -> PyResult<Self> {
        let read = py.detach(|| counts_file::read(Path::new(path)));
        read.and_then(Self::of).map_err(|error| to_python(py, &error))
    }

    fn save(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        py.detach(|| counts_file::write(&self.file, Path::new(path))).map_err(|error| to_python(py, &error))
    }

    fn add_texts(&mut self, py: Python<'_>, texts: Vec<Bound<'_, PyString>>) -> PyResult<()> {
        let texts: Vec<&[u8]> = texts.iter().map(|string| text(string).map(str::as_bytes)).collect::<PyResult<_>>()?;
        let total = texts.iter().map(|text| text.len() as u64).sum();
        let options = self.options.clone();
        self.add(py, None, Some(total), |tick| count_texts(&texts, &options, tick))
    }

    fn add_files(&mut self, py: Python<'_>, paths: Vec<PathBuf>, progress: Option<Py<PyAny>>) -> PyResult<()> {
        let options = self.options.clone();
        if paths.iter().any(|path| path.as_os_str() == "-") {
            let count = |tick: &mut Progress<'_>| {
                let mut all = PretokenCounts::new();
                for path in &paths {
                    let counts = match path.to_str() {
                        Some("-") => count_stream(Path::new("standard input"), std::io::stdin(), &options, tick)?,
                        _ => count_files(std::slice::from_ref(path), &options, tick)?,
                    };
                    all.merge(&counts);
                }
                Ok(all)
            };
            return self.add(py, progress, None, count);
        }
        // A file that cannot be looked at is reported when it is opened.
        let total = paths.iter().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum();
        let total = (!paths.iter().any(|path| is_compressed(path))).then_some(total);
        self.add(py, progress, total, |tick| count_files(&paths, &options, tick))
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
    fn of(file: CountsFile) -> Result<Self, Error> {
        let special: Vec<(String, u32)> = file.special_tokens.iter().map(|text| (text.clone(), 0)).collect();
        let options = CountOptions { pattern: file.pattern, special: SpecialTokens::new(&special)?, threads: 0 };
        Ok(Self { file, options })
    }

    /// Adds the pretokens of a block of documents.
    pub fn add_documents(&mut self, py: Python<'_>, documents: &lm_bpe::Documents) -> PyResult<()> {
        let options = self.options.clone();
        let total = documents.text_bytes() as u64;
        self.add(py, None, Some(total), |tick| lm_bpe::count_documents(documents, &options, tick))
    }

    /// Adds what `count` counts; after an error or Ctrl-C nothing is added.
    fn add(
        &mut self,
        py: Python<'_>,
        progress: Option<Py<PyAny>>,
        total: Option<u64>,
        count: impl FnOnce(&mut Progress<'_>) -> Result<PretokenCounts, Error> + Send,
    ) -> PyResult<()> {
        let mut watch = Watch::new(progress);
        let counted = py.detach(|| count(&mut |done| watch.at("counting", done, total)));
        let counts = watch.end(py, counted)?;
        if self.file.counts.is_empty() {
            self.file.counts = counts;
        } else {
            self.file.counts.merge(&counts);
        }
        Ok(())
    }
}
