//! `Core`: a tokenizer as the Python class `Tokenizer` holds it.
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use lm_bpe::formats::token_file::{self, Layout};
use lm_bpe::formats::tokenizer_json::{self, Kept};
use lm_bpe::formats::{tiktoken, vocab_merges};
use lm_bpe::{Error, Merge, Model, Pattern, SpecialTokens, Vocabulary};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyMemoryView, PyString, PyTuple};

use crate::counts::Counts;
use crate::errors::{exception, text, to_python};
use crate::ids::{Buffer, Integers};
use crate::pools::Pools;
use crate::special::not_one_of;
use crate::watch::Watch;

#[pyclass(frozen, module = "lm_tokenizer._rust")]
pub struct Core {
    pub vocabulary: Arc<Vocabulary>,
    pub special: SpecialTokens,
    pub pools: Pools,
    integers: Integers,
    kept: Kept,
    fingerprint: OnceLock<String>,
}

impl Core {
    pub fn new(vocabulary: Vocabulary, kept: Kept) -> Result<Self, Error> {
        let special = SpecialTokens::new(vocabulary.special_tokens())?;
        let (integers, pools) = (Integers::new(vocabulary.id_bound()), Pools::default());
        let vocabulary = Arc::new(vocabulary);
        Ok(Self { vocabulary, special, pools, integers, kept, fingerprint: OnceLock::new() })
    }

    fn made(py: Python<'_>, made: Result<Vocabulary, Error>) -> PyResult<Self> {
        Self::read(py, made.map(|vocabulary| (vocabulary, Kept::default())))
    }

    fn read(py: Python<'_>, read: Result<(Vocabulary, Kept), Error>) -> PyResult<Self> {
        read.and_then(|(vocabulary, kept)| Self::new(vocabulary, kept)).map_err(|error| to_python(py, &error))
    }
}

#[pymethods]
impl Core {
    #[staticmethod]
    fn load(py: Python<'_>, path: &str) -> PyResult<Self> {
        Self::read(py, py.detach(|| tokenizer_json::read(Path::new(path))))
    }

    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        Self::read(py, py.detach(|| tokenizer_json::from_text(text, Path::new("tokenizer.json"))))
    }

    #[staticmethod]
    fn load_tiktoken(
        py: Python<'_>,
        path: &str,
        pattern: &str,
        special: Vec<(String, u32)>,
        following: Vec<String>,
    ) -> PyResult<Self> {
        Self::made(py, py.detach(|| tiktoken::read(Path::new(path), Pattern::from_name(pattern)?, special, following)))
    }

    #[staticmethod]
    fn load_vocab_merges(
        py: Python<'_>,
        vocab: &str,
        merges: &str,
        pattern: &str,
        special: Vec<String>,
    ) -> PyResult<Self> {
        let read = || vocab_merges::read(Path::new(vocab), Path::new(merges), Pattern::from_name(pattern)?, &special);
        Self::made(py, py.detach(read))
    }

    #[staticmethod]
    fn from_vocab(
        py: Python<'_>,
        tokens: Vec<(u32, Vec<u8>)>,
        merges: Vec<(Vec<u8>, Vec<u8>)>,
        special: Vec<(String, u32)>,
        pattern: &str,
    ) -> PyResult<Self> {
        let ids: std::collections::HashMap<&[u8], u32> =
            tokens.iter().map(|(id, token)| (token.as_slice(), *id)).collect();
        let mut by_ids = Vec::with_capacity(merges.len());
        for (rank, (left, right)) in merges.iter().enumerate() {
            let id = |token: &[u8]| {
                ids.get(token).copied().ok_or_else(|| {
                    let message =
                        format!("merge {rank} names b\"{}\", which is not in the vocabulary", token.escape_ascii());
                    exception(py, "VocabularyError", &message)
                })
            };
            let merged = id(&[left.as_slice(), right].concat())?;
            by_ids.push(Merge { left: id(left)?, right: id(right)?, merged });
        }
        Self::made(
            py,
            Pattern::from_name(pattern).and_then(|p| Vocabulary::new(Model::bpe(p), tokens, by_ids, special)),
        )
    }

    #[staticmethod]
    fn characters(sample: &Bound<'_, PyString>, special: Vec<String>) -> PyResult<Self> {
        let distinct: std::collections::BTreeSet<char> = text(sample)?.chars().collect();
        let tokens: Vec<(u32, Vec<u8>)> =
            distinct.iter().enumerate().map(|(id, c)| (id as u32, c.to_string().into_bytes())).collect();
        let first = tokens.len() as u32;
        let special = special.into_iter().enumerate().map(|(at, text)| (text, first + at as u32)).collect();
        Self::made(sample.py(), Vocabulary::new(Model::Characters, tokens, Vec::new(), special))
    }

    fn save(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        py.detach(|| tokenizer_json::write(&self.vocabulary, &self.kept, Path::new(path)))
            .map_err(|error| to_python(py, &error))
    }

    fn save_config(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        py.detach(|| tokenizer_json::write_config(&self.vocabulary, Path::new(path)))
            .map_err(|error| to_python(py, &error))
    }

    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| tokenizer_json::to_text(&self.vocabulary, &self.kept))
            .map_err(|problem| exception(py, "VocabularyError", &problem))
    }

    fn save_tiktoken(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        py.detach(|| tiktoken::write(&self.vocabulary, Path::new(path))).map_err(|error| to_python(py, &error))
    }

    fn save_vocab_merges(&self, py: Python<'_>, vocab: &str, merges: &str) -> PyResult<()> {
        py.detach(|| vocab_merges::write(&self.vocabulary, Path::new(vocab), Path::new(merges)))
            .map_err(|error| to_python(py, &error))
    }

    #[getter]
    fn pattern(&self) -> Option<&'static str> {
        self.vocabulary.pattern().map(Pattern::name)
    }

    #[getter]
    fn id_bound(&self) -> u32 {
        self.vocabulary.id_bound()
    }

    #[getter]
    fn fingerprint(&self, py: Python<'_>) -> &str {
        if let Some(known) = self.fingerprint.get() {
            return known;
        }
        let made = py.detach(|| lm_bpe::fingerprint(&self.vocabulary));
        self.fingerprint.get_or_init(|| made)
    }

    fn vocab<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let vocab = PyDict::new(py);
        for (id, bytes) in self.vocabulary.tokens() {
            vocab.set_item(id, PyBytes::new(py, bytes))?;
        }
        Ok(vocab)
    }

    fn merges<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let part = |id| PyBytes::new(py, self.vocabulary.bytes(id).unwrap_or_default());
        let merges = self.vocabulary.merges().iter();
        let pairs: PyResult<Vec<_>> =
            merges.map(|merge| PyTuple::new(py, [part(merge.left), part(merge.right)])).collect();
        PyList::new(py, pairs?)
    }

    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut special: Vec<&(String, u32)> = self.vocabulary.special_tokens().iter().collect();
        special.sort_by_key(|token| token.1);
        let tokens = PyDict::new(py);
        for (text, id) in special {
            tokens.set_item(text, id)?;
        }
        Ok(tokens)
    }

    /// `keep`: the counts are wanted afterwards; else they are emptied, which saves their memory while training goes on.
    #[staticmethod]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one Python function")]
    fn train(
        py: Python<'_>,
        counts: &Bound<'_, Counts>,
        keep: bool,
        vocab_size: usize,
        special: Vec<String>,
        tie_break: &str,
        min_frequency: u64,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let pattern = counts.try_borrow()?.file.pattern;
        let lent;
        let counts = if keep {
            lent = counts.try_borrow()?;
            Cow::Borrowed(&lent.file.counts)
        } else {
            Cow::Owned(std::mem::take(&mut counts.try_borrow_mut()?.file.counts))
        };
        crate::train::train(py, pattern, counts, vocab_size, special, tie_break, min_frequency, progress)
    }

    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one Python function")]
    fn train_further(
        &self,
        py: Python<'_>,
        counts: &Counts,
        vocab_size: usize,
        special: Vec<String>,
        tie_break: &str,
        min_frequency: u64,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        crate::train::further(py, self, counts, vocab_size, special, tie_break, min_frequency, progress)
    }

    fn encode<'py>(
        &self,
        string: &Bound<'py, PyString>,
        allowed: &Bound<'py, PyAny>,
        disallowed: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.integers.list(string.py(), &self.encoded(string, allowed, disallowed)?)
    }

    fn encode_array<'py>(
        &self,
        string: &Bound<'py, PyString>,
        allowed: &Bound<'py, PyAny>,
        disallowed: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyMemoryView>> {
        Buffer::ids(self.encoded(string, allowed, disallowed)?).into_view(string.py())
    }

    fn count(
        &self,
        string: &Bound<'_, PyString>,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        self.counted(string, allowed, disallowed)
    }

    fn count_batch(
        &self,
        py: Python<'_>,
        texts: Vec<Bound<'_, PyString>>,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<usize>> {
        self.counted_batch(py, &texts, allowed, disallowed)
    }

    fn encode_ordinary<'py>(&self, string: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyList>> {
        self.encode_bytes(string.py(), text(string)?.as_bytes())
    }

    fn encode_bytes<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyList>> {
        self.integers.list(py, &self.ids(py, data, &SpecialTokens::default())?)
    }

    fn encode_parts<'py>(
        &self,
        py: Python<'py>,
        parts: Vec<(Bound<'py, PyString>, bool)>,
    ) -> PyResult<Bound<'py, PyList>> {
        let special = self.vocabulary.special_tokens();
        let mut ids = Vec::new();
        for (part, is_special) in &parts {
            let text = text(part)?;
            if *is_special {
                let message = || format!("{text:?} is {}", not_one_of(special));
                let token = special.iter().find(|token| token.0 == text);
                ids.push(token.ok_or_else(|| exception(py, "SpecialTokenError", &message()))?.1);
            } else {
                ids.extend(self.ids(py, text.as_bytes(), &SpecialTokens::default())?);
            }
        }
        self.integers.list(py, &ids)
    }

    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyString>>,
        allowed: &Bound<'py, PyAny>,
        disallowed: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let batch = self.batch(py, &texts, allowed, disallowed)?;
        let lists = batch.offsets.windows(2).map(|ends| self.integers.list(py, &batch.ids[ends[0]..ends[1]]));
        PyList::new(py, lists.collect::<PyResult<Vec<_>>>()?)
    }

    fn encode_batch_array<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyString>>,
        allowed: &Bound<'py, PyAny>,
        disallowed: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyMemoryView>, Bound<'py, PyMemoryView>)> {
        let batch = self.batch(py, &texts, allowed, disallowed)?;
        let offsets = batch.offsets.iter().map(|&offset| offset as i64).collect();
        Ok((Buffer::ids(batch.ids).into_view(py)?, Buffer::offsets(offsets).into_view(py)?))
    }

    /// `sources` to `target`; returns the fields of `FileEncoding` that the caller does not know.
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one Python function")]
    fn encode_file<'py>(
        &self,
        py: Python<'py>,
        sources: Vec<PathBuf>,
        target: PathBuf,
        ends: Option<PathBuf>,
        wide: bool,
        separator: Option<String>,
        field: Option<String>,
        append: Option<u32>,
        total: Option<u64>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let layout = Layout { wide, separator, field, append };
        let mut watch = Watch::new(progress);
        let written = py.detach(|| {
            let tick = &mut |done| watch.at("encoding", done, total);
            self.pools.with(&self.vocabulary, |pool| {
                token_file::encode(pool, &sources, &target, ends.as_deref(), &layout, tick)
            })
        });
        let written = watch.end(py, written)?;
        let fields = PyDict::new(py);
        fields.set_item("tokens", written.tokens)?;
        fields.set_item("documents", written.documents)?;
        fields.set_item("largest_id", written.largest_id)?;
        fields.set_item("text_bytes", written.text_bytes)?;
        fields.set_item("bytes", written.bytes)?;
        fields.set_item("sha256", written.sha256)?;
        Ok(fields)
    }

    fn token_bytes<'py>(&self, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        self.bytes_of_one(id)
    }

    fn decode_bytes<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(ids.py(), &self.bytes_of(ids)?))
    }

    fn decode<'py>(&self, ids: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyString>> {
        self.text_of(ids, errors)
    }

    fn decode_with_offsets<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyString>, Vec<usize>)> {
        self.text_and_offsets(ids)
    }
}
