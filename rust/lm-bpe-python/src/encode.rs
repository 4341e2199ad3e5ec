//! Text to ids, without the GIL and stoppable where a text is long.
use lm_bpe::{Batch, Error, SpecialTokens};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::core::Core;
use crate::errors::{exception, text, to_python};
use crate::special::Policy;
use crate::watch::Watch;

/// Shorter texts are encoded on the calling thread in one go, within milliseconds.
const SHORT: usize = 1 << 18;

impl Core {
    /// The ids of a text, its special tokens as the two arguments say.
    pub fn encoded(
        &self,
        string: &Bound<'_, PyString>,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<u32>> {
        let (py, text) = (string.py(), text(string)?);
        let policy = Policy::new(self, allowed, disallowed)?;
        policy.check(py, text)?;
        self.ids(py, text.as_bytes(), policy.search())
    }

    /// The ids of bytes that are looked through for `special` only.
    pub fn ids(&self, py: Python<'_>, text: &[u8], special: &SpecialTokens) -> PyResult<Vec<u32>> {
        if text.len() > SHORT {
            return self.batch_of(py, &[text], special).map(|batch| batch.ids);
        }
        let encode = || {
            self.pools.with(&self.vocabulary, |pool| {
                let mut ids = Vec::new();
                pool.encoders(1)[0].encode(text, special, &mut ids).map(|()| ids)
            })
        };
        py.detach(encode).map_err(|error| to_python(py, &error))
    }

    pub fn counted(
        &self,
        string: &Bound<'_, PyString>,
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        let (py, text) = (string.py(), text(string)?);
        let policy = Policy::new(self, allowed, disallowed)?;
        policy.check(py, text)?;
        let count =
            || self.pools.with(&self.vocabulary, |pool| pool.encoders(1)[0].count(text.as_bytes(), policy.search()));
        py.detach(count).map_err(|error| to_python(py, &error))
    }

    /// The ids of many texts, on all threads.
    pub fn batch(
        &self,
        py: Python<'_>,
        texts: &[Bound<'_, PyString>],
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<Batch> {
        let policy = Policy::new(self, allowed, disallowed)?;
        let mut bytes = Vec::with_capacity(texts.len());
        for (index, string) in texts.iter().enumerate() {
            let text = text(string).and_then(|text| policy.check(py, text).map(|()| text));
            bytes.push(text.map_err(|error| in_text(py, index, error))?.as_bytes());
        }
        self.batch_of(py, &bytes, policy.search())
    }

    fn batch_of(&self, py: Python<'_>, texts: &[&[u8]], special: &SpecialTokens) -> PyResult<Batch> {
        let total = texts.iter().map(|text| text.len() as u64).sum();
        let mut watch = Watch::new(None);
        let encoded = py.detach(|| {
            let tick = &mut |done| watch.at("encoding", done, Some(total));
            self.pools.with(&self.vocabulary, |pool| pool.encode_batch(texts, special, 0, tick))
        });
        encoded.or_else(|(index, error)| {
            let alone = texts.len() == 1 || error == Error::Interrupted;
            let error = watch.end::<Batch>(py, Err(error));
            if alone { error } else { error.map_err(|error| in_text(py, index, error)) }
        })
    }
}

/// The same error, which says which of several texts it is about.
fn in_text(py: Python<'_>, index: usize, error: PyErr) -> PyErr {
    let class = error.get_type(py).name().map(|name| name.to_string());
    match class.as_deref() {
        Ok(class @ ("SpecialTokenError" | "InvalidTextError")) => {
            exception(py, class, &format!("text {index}: {}", error.value(py)))
        }
        _ => error,
    }
}
