//! `Core`: a tokenizer as the Python class `Tokenizer` holds it.
use std::path::Path;
use std::sync::OnceLock;

use lm_bpe::formats::{tiktoken, tokenizer_json, vocab_merges};
use lm_bpe::{Error, Merge, Model, Pattern, Vocabulary};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::counts::Counts;
use crate::encode::Refusal;
use crate::errors::{exception, text, to_python};
use crate::ids::{self, Buffer};
use crate::naive::Encoder;
use crate::special::Policy;

#[pyclass(frozen, module = "lm_tokenizer._rust")]
pub struct Core {
    pub vocabulary: Vocabulary,
    pub encoder: Encoder,
    kept: tokenizer_json::Kept,
    fingerprint: OnceLock<String>,
}

impl Core {
    pub fn new(vocabulary: Vocabulary, kept: tokenizer_json::Kept) -> Self {
        let encoder = Encoder::new(&vocabulary);
        Self { vocabulary, encoder, kept, fingerprint: OnceLock::new() }
    }

    fn checked(py: Python<'_>, made: Result<Vocabulary, Error>) -> PyResult<Self> {
        made.map(|vocabulary| Self::new(vocabulary, tokenizer_json::Kept::default()))
            .map_err(|error| to_python(py, &error))
    }
}

#[pymethods]
impl Core {
    #[staticmethod]
    fn load(py: Python<'_>, path: &str) -> PyResult<Self> {
        let read = py.detach(|| tokenizer_json::read(Path::new(path)));
        read.map(|(vocabulary, kept)| Self::new(vocabulary, kept)).map_err(|error| to_python(py, &error))
    }

    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        let read = py.detach(|| tokenizer_json::from_text(text, Path::new("tokenizer.json")));
        read.map(|(vocabulary, kept)| Self::new(vocabulary, kept)).map_err(|error| to_python(py, &error))
    }

    #[staticmethod]
    fn load_tiktoken(
        py: Python<'_>,
        path: &str,
        pattern: &str,
        special: Vec<(String, u32)>,
        following: Vec<String>,
    ) -> PyResult<Self> {
        Self::checked(
            py,
            py.detach(|| tiktoken::read(Path::new(path), Pattern::from_name(pattern)?, special, following)),
        )
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
        Self::checked(py, py.detach(read))
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
        Self::checked(
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
        Self::checked(sample.py(), Vocabulary::new(Model::Characters, tokens, Vec::new(), special))
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

    #[staticmethod]
    fn train(
        py: Python<'_>,
        counts: &Counts,
        vocab_size: usize,
        special: Vec<String>,
        tie_break: &str,
        min_frequency: u64,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        crate::train::train(py, counts, vocab_size, special, tie_break, min_frequency, progress)
    }

    fn encode<'py>(
        &self,
        string: &Bound<'py, PyString>,
        allowed: &Bound<'py, PyAny>,
        disallowed: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        PyList::new(string.py(), self.encoded(string, allowed, disallowed)?)
    }

    fn encode_array(
        &self,
        string: &Bound<'_, PyString>,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<Buffer> {
        Ok(Buffer::ids(&self.encoded(string, allowed, disallowed)?))
    }

    fn count(
        &self,
        string: &Bound<'_, PyString>,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        Ok(self.encoded(string, allowed, disallowed)?.len())
    }

    fn encode_ordinary<'py>(&self, string: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyList>> {
        let (py, text) = (string.py(), text(string)?);
        PyList::new(py, self.ordinary_ids(py, text.as_bytes())?)
    }

    fn encode_bytes<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.ordinary_ids(py, data)?)
    }

    fn encode_parts<'py>(
        &self,
        py: Python<'py>,
        parts: Vec<(Bound<'py, PyString>, bool)>,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut ids = Vec::new();
        for (part, is_special) in &parts {
            let text = text(part)?;
            if *is_special {
                let token = self.vocabulary.special_tokens().iter().find(|token| token.0 == text);
                let message = || format!("{text:?} is not a special token of this tokenizer");
                ids.push(token.ok_or_else(|| exception(py, "SpecialTokenError", &message()))?.1);
            } else {
                ids.extend(self.ordinary_ids(py, text.as_bytes())?);
            }
        }
        PyList::new(py, ids)
    }

    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyString>>,
        allowed: &Bound<'py, PyAny>,
        disallowed: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let lists: PyResult<Vec<_>> = texts.iter().map(|text| self.encode(text, allowed, disallowed)).collect();
        PyList::new(py, lists?)
    }

    fn count_batch(
        &self,
        texts: Vec<Bound<'_, PyString>>,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<usize>> {
        texts.iter().map(|text| self.count(text, allowed, disallowed)).collect()
    }

    fn encode_batch_array(
        &self,
        texts: Vec<Bound<'_, PyString>>,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<(Buffer, Buffer)> {
        let (mut all, mut offsets) = (Vec::new(), vec![0i64]);
        for text in &texts {
            all.extend(self.encoded(text, allowed, disallowed)?);
            offsets.push(all.len() as i64);
        }
        Ok((Buffer::ids(&all), Buffer::offsets(&offsets)))
    }

    fn token_bytes<'py>(&self, py: Python<'py>, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let ids = ids::from_python(PyList::new(py, [id])?.as_any(), self.id_bound())?;
        Ok(PyBytes::new(py, &self.bytes_of(py, &ids)?))
    }

    fn decode_bytes<'py>(&self, py: Python<'py>, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.bytes_of(py, &ids::from_python(ids, self.id_bound())?)?))
    }

    fn decode<'py>(&self, py: Python<'py>, ids: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyString>> {
        let bytes = self.bytes_of(py, &ids::from_python(ids, self.id_bound())?)?;
        match (std::str::from_utf8(&bytes), errors) {
            (Ok(text), "replace" | "strict") => Ok(PyString::new(py, text)),
            (Err(_), "replace") => Ok(PyString::new(py, &String::from_utf8_lossy(&bytes))),
            (Err(error), "strict") => {
                let message = format!("the bytes of these ids are not UTF-8 at byte {}", error.valid_up_to());
                Err(exception(py, "DecodeError", &message))
            }
            _ => {
                let message = format!("errors is \"replace\" or \"strict\", not {errors:?}");
                Err(exception(py, "TokenizerError", &message))
            }
        }
    }
}

impl Core {
    fn encoded(
        &self,
        string: &Bound<'_, PyString>,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<u32>> {
        let (py, text) = (string.py(), text(string)?);
        let policy = Policy::new(self.vocabulary.special_tokens(), allowed, disallowed)?;
        let encode = || {
            let mut ids = Vec::new();
            self.encode_with(text, &policy, &mut ids).map(|()| ids)
        };
        py.detach(encode).map_err(|refusal: Refusal| refusal.into_python(py))
    }

    fn ordinary_ids(&self, py: Python<'_>, text: &[u8]) -> PyResult<Vec<u32>> {
        let mut ids = Vec::new();
        py.detach(|| self.ordinary(text, &mut ids)).map_err(|error| to_python(py, &error))?;
        Ok(ids)
    }

    fn bytes_of(&self, py: Python<'_>, ids: &[u32]) -> PyResult<Vec<u8>> {
        let mut bytes = Vec::with_capacity(4 * ids.len());
        for (position, id) in ids.iter().enumerate() {
            let Some(token) = self.vocabulary.bytes(*id) else {
                return Err(to_python(py, &Error::UnknownId { id: *id, position, bound: self.id_bound() }));
            };
            bytes.extend_from_slice(token);
        }
        Ok(bytes)
    }
}
