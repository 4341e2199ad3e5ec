//! Ids to bytes and text.
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::core::Core;
use crate::errors::{exception, to_python};
use crate::ids;

impl Core {
    /// The bytes of ids, in a row.
    pub fn bytes_of(&self, ids: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
        let py = ids.py();
        let bound = self.vocabulary.id_bound();
        if let Ok(list) = ids.cast::<PyList>() {
            // A thousand at a time: an array of all of them would cost a tenth more, for it is fresh memory.
            let mut bytes = Vec::with_capacity(5 * list.len());
            ids::each_part(list, bound, |position, part| {
                self.vocabulary.decode_onto(part, position, &mut bytes).map_err(|error| to_python(py, &error))
            })?;
            return Ok(bytes);
        }
        let ids = ids::from_python(ids, bound)?;
        py.detach(|| self.vocabulary.decode(&ids)).map_err(|error| to_python(py, &error))
    }

    /// The text of ids; what is no UTF-8 becomes U+FFFD, or an error if `errors` is "strict".
    pub fn text_of<'py>(&self, ids: &Bound<'py, PyAny>, errors: &str) -> PyResult<Bound<'py, PyString>> {
        let py = ids.py();
        let bytes = self.bytes_of(ids)?;
        if !matches!(errors, "replace" | "strict") {
            let message = format!("errors is \"replace\" or \"strict\", not {errors:?}");
            return Err(exception(py, "TokenizerError", &message));
        }
        // Python looks through the bytes by itself, so ours are looked through only where it finds a fault.
        PyString::from_bytes(py, &bytes).or_else(|_| match std::str::from_utf8(&bytes) {
            Err(error) if errors == "strict" => Err(not_text(py, error.valid_up_to())),
            _ => Ok(PyString::new(py, &String::from_utf8_lossy(&bytes))),
        })
    }

    /// The text of ids, and for each the index of the character that its first byte is part of.
    pub fn text_and_offsets<'py>(&self, ids: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyString>, Vec<usize>)> {
        let py = ids.py();
        let ids = ids::from_python(ids, self.vocabulary.id_bound())?;
        let bytes = self.vocabulary.decode(&ids).map_err(|error| to_python(py, &error))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| not_text(py, error.valid_up_to()))?;
        let mut begun = 0; // characters that have begun before the id at hand
        let mut offsets = Vec::with_capacity(ids.len());
        for token in ids.iter().filter_map(|id| self.vocabulary.bytes(*id)) {
            let inside = token.first().is_some_and(|byte| !begins_character(*byte));
            offsets.push(begun - usize::from(inside));
            begun += token.iter().filter(|byte| begins_character(**byte)).count();
        }
        Ok((PyString::new(py, text), offsets))
    }

    /// The bytes of one id.
    pub fn bytes_of_one<'py>(&self, id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = id.py();
        if let Some(token) = id.extract::<u32>().ok().and_then(|id| self.vocabulary.bytes(id)) {
            return Ok(PyBytes::new(py, token));
        }
        Ok(PyBytes::new(py, &self.bytes_of(PyList::new(py, [id])?.as_any())?))
    }
}

fn begins_character(byte: u8) -> bool {
    byte & 0xC0 != 0x80
}

fn not_text(py: Python<'_>, at: usize) -> PyErr {
    exception(py, "DecodeError", &format!("the bytes of these ids are not UTF-8 at byte {at}"))
}
