//! `lm_bpe::Error` as the exceptions of `lm_tokenizer.errors`.
use lm_bpe::Error;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// An exception of `lm_tokenizer.errors`, by the name of its class.
pub fn exception(py: Python<'_>, class: &str, message: &str) -> PyErr {
    let made = py
        .import("lm_tokenizer.errors")
        .and_then(|module| module.getattr(class))
        .and_then(|class| class.call1((message,)));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// The exception for an error of the core.
pub fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error {
        Error::Interrupted => return PyKeyboardInterrupt::new_err(()),
        Error::UnknownCharacter { .. } | Error::NotUtf8 { .. } => "InvalidTextError",
        Error::UnknownId { .. } => "UnknownIdError",
        Error::Format { .. } => "TokenizerFileError",
        Error::Io { .. } => "FileAccessError",
        Error::UnknownPattern { .. }
        | Error::UnknownTieBreak { .. }
        | Error::VocabularyTooSmall { .. }
        | Error::VocabularyTooLarge { .. }
        | Error::CannotGoOn { .. }
        | Error::TooMuchText { .. } => "TokenizerError",
        _ => "VocabularyError",
    };
    let message = error.to_string();
    // Rust ends the system's own words with " (os error 2)".
    let plain = message.split(" (os error ").next().unwrap_or(&message);
    exception(py, class, if matches!(error, Error::Io { .. }) { plain } else { &message })
}

/// The text of a Python string, or an error that names the lone surrogate in it.
pub fn text<'a>(string: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    string.to_str().map_err(|error| {
        let py = string.py();
        match error.value(py).getattr("start").and_then(|start| start.extract::<usize>()) {
            Ok(at) => {
                let message = format!(
                    "the text has a lone surrogate at character {at}, which is no text; \
                     use encode_bytes, or text.encode(errors=\"replace\").decode()"
                );
                exception(py, "InvalidTextError", &message)
            }
            Err(_) => error,
        }
    })
}
