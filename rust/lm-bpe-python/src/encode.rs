//! Text to ids, without the GIL and stoppable where a text is long.
use lm_bpe::{Batch, EncoderPool, Error, Progress, SpecialTokens};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::core::Core;
use crate::errors::{exception, text, to_python};
use crate::special::Policy;
use crate::watch::Watch;

/// Shorter texts are encoded on the calling thread in one go, within milliseconds.
const SHORT: usize = 1 << 18;
/// Still shorter ones keep the GIL: to let it go and take it again is a good part of the microseconds that they need.
const TINY: usize = 1 << 11;

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
        let done = if text.len() > TINY { py.detach(encode) } else { encode() };
        done.map_err(|error| to_python(py, &error))
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
        if text.len() > SHORT {
            return self.counts_of(py, &[text.as_bytes()], policy.search()).map(|counts| counts[0]);
        }
        let count =
            || self.pools.with(&self.vocabulary, |pool| pool.encoders(1)[0].count(text.as_bytes(), policy.search()));
        py.detach(count).map_err(|error| to_python(py, &error))
    }

    /// How many ids many texts have, on all threads.
    pub fn counted_batch(
        &self,
        py: Python<'_>,
        texts: &[Bound<'_, PyString>],
        allowed: &Bound<'_, PyAny>,
        disallowed: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<usize>> {
        let policy = Policy::new(self, allowed, disallowed)?;
        self.counts_of(py, &checked(py, texts, &policy)?, policy.search())
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
        self.batch_of(py, &checked(py, texts, &policy)?, policy.search())
    }

    fn batch_of(&self, py: Python<'_>, texts: &[&[u8]], special: &SpecialTokens) -> PyResult<Batch> {
        self.watched(py, texts, |pool, tick| pool.encode_batch(texts, special, 0, tick))
    }

    fn counts_of(&self, py: Python<'_>, texts: &[&[u8]], special: &SpecialTokens) -> PyResult<Vec<usize>> {
        self.watched(py, texts, |pool, tick| pool.count_batch(texts, special, 0, tick))
    }

    /// Work on texts that Ctrl-C ends; an error says which of several texts it is about.
    fn watched<T: Send>(
        &self,
        py: Python<'_>,
        texts: &[&[u8]],
        work: impl Send + FnOnce(&mut EncoderPool, &mut Progress<'_>) -> Result<T, (usize, Error)>,
    ) -> PyResult<T> {
        let mut watch = Watch::new(None);
        let done = py.detach(|| {
            let tick = &mut |done| watch.at("encoding", done, None);
            self.pools.with(&self.vocabulary, |pool| work(pool, tick))
        });
        done.or_else(|(index, error)| {
            let alone = texts.len() == 1 || error == Error::Interrupted;
            let error = watch.end::<T>(py, Err(error));
            if alone { error } else { error.map_err(|error| in_text(py, index, error)) }
        })
    }
}

/// The bytes of texts, none of which has a special token that is not to be there.
fn checked<'a>(py: Python<'_>, texts: &'a [Bound<'_, PyString>], policy: &Policy<'_>) -> PyResult<Vec<&'a [u8]>> {
    let check = |(index, string): (usize, &'a Bound<'_, PyString>)| {
        let text = text(string).and_then(|text| policy.check(py, text).map(|()| text));
        text.map(str::as_bytes).map_err(|error| in_text(py, index, error))
    };
    texts.iter().enumerate().map(check).collect()
}

/// The same error, which says which of several texts it is about.
pub fn in_text(py: Python<'_>, index: usize, error: PyErr) -> PyErr {
    let class = error.get_type(py).name().map(|name| name.to_string());
    match class.as_deref() {
        Ok(class @ ("SpecialTokenError" | "InvalidTextError")) => {
            exception(py, class, &format!("text {index}: {}", error.value(py)))
        }
        _ => error,
    }
}
