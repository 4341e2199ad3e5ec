//! Ids across the border: arrays out without a copy, any sequence of integers in.
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyInt, PyList, PyMemoryView};

use crate::errors::exception;

/// Numbers that Python reads in place, through a memoryview.
#[pyclass(module = "lm_tokenizer._rust")]
pub struct Buffer(Numbers);

enum Numbers {
    Ids(Vec<u32>),
    Offsets(Vec<i64>),
    Bytes(Vec<u8>),
}

/// Python's integers of ids, each made when it is first wanted: a list holds references to them and no integers of its
/// own, so it takes a fifth of the memory, and less time (benchmarks/compare.py, `short`).
pub struct Integers {
    bound: u32,
    made: OnceLock<Box<[PyOnceLock<Py<PyInt>>]>>,
}

/// Vocabularies with larger ids have places without tokens, as a rule; their lists hold integers of their own.
const MOST: u32 = 1 << 19;

impl Integers {
    /// Of the ids below `bound`.
    pub fn new(bound: u32) -> Self {
        Self { bound, made: OnceLock::new() }
    }

    pub fn list<'py>(&self, py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
        if self.bound > MOST {
            return PyList::new(py, ids);
        }
        let made = self.made.get_or_init(|| (0..self.bound).map(|_| PyOnceLock::new()).collect());
        let integer = |&id: &u32| {
            let Ok(integer) = made[id as usize].get_or_try_init(py, || id.into_pyobject(py).map(Bound::unbind));
            integer.bind(py)
        };
        PyList::new(py, ids.iter().map(integer))
    }
}

impl Buffer {
    pub fn ids(ids: Vec<u32>) -> Self {
        Self(Numbers::Ids(ids))
    }

    pub fn offsets(offsets: Vec<i64>) -> Self {
        Self(Numbers::Offsets(offsets))
    }

    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self(Numbers::Bytes(bytes))
    }

    pub fn into_view(self, py: Python<'_>) -> PyResult<Bound<'_, PyMemoryView>> {
        PyMemoryView::from(Bound::new(py, self)?.as_any())
    }
}

#[pymethods]
impl Buffer {
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        let (start, length) = match &mut slf.borrow_mut().0 {
            Numbers::Ids(ids) => (ids.as_mut_ptr().cast::<c_void>(), size_of_val(ids.as_slice())),
            Numbers::Offsets(offsets) => (offsets.as_mut_ptr().cast::<c_void>(), size_of_val(offsets.as_slice())),
            Numbers::Bytes(bytes) => (bytes.as_mut_ptr().cast::<c_void>(), bytes.len()),
        };
        // SAFETY: `view` is the caller's to be filled; the numbers are never moved, and the view holds a reference to its owner.
        match unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, length as isize, 0, flags) } {
            0 => Ok(()),
            _ => Err(PyErr::fetch(slf.py())),
        }
    }
}

/// Ids from any iterable of integers, or quickly from a flat array of them. An id that no vocabulary can hold is an
/// error that names its position; one that merely is not in the vocabulary is left for the decoder to find.
pub fn from_python(source: &Bound<'_, PyAny>, bound: u32) -> PyResult<Vec<u32>> {
    if let Ok(list) = source.cast::<PyList>() {
        let mut ids = Vec::with_capacity(list.len());
        for position in 0..list.len() {
            ids.push(in_list(list, position, bound)?);
        }
        return Ok(ids);
    }
    if let Some(array) = PyBuffer::<u32>::get(source).ok().filter(is_native) {
        return array.to_vec(source.py());
    }
    if let Some(array) = PyBuffer::<u16>::get(source).ok().filter(is_native) {
        return Ok(array.to_vec(source.py())?.into_iter().map(u32::from).collect());
    }
    source.try_iter()?.enumerate().map(|(position, item)| id(&item?, position, bound)).collect()
}

/// Calls `work(position, ids)` for the ids of a list in parts of up to 1,024.
pub fn each_part(
    list: &Bound<'_, PyList>,
    bound: u32,
    mut work: impl FnMut(usize, &[u32]) -> PyResult<()>,
) -> PyResult<()> {
    let mut part = [0; 1 << 10];
    let length = list.len();
    for start in (0..length).step_by(part.len()) {
        let ids = &mut part[..(length - start).min(1 << 10)];
        for (position, id) in (start..).zip(&mut *ids) {
            *id = in_list(list, position, bound)?;
        }
        work(start, ids)?;
    }
    Ok(())
}

/// One axis, and this machine's order of bytes, which a `PyBuffer` does not check.
fn is_native<T: Element>(array: &PyBuffer<T>) -> bool {
    let foreign: &[u8] = if cfg!(target_endian = "little") { b">!" } else { b"<" };
    array.dimensions() == 1 && !foreign.contains(&array.format().to_bytes().first().copied().unwrap_or_default())
}

/// One id of a list. A plain `int` in range is read without a reference of its own, which is a third of the time of the
/// other way: 10 million ids in 50 ms instead of 130.
#[inline(always)]
fn in_list(list: &Bound<'_, PyList>, position: usize, bound: u32) -> PyResult<u32> {
    // SAFETY: the list is alive, the position is not negative, and a place that is no more is a null. The item belongs
    // to the list, which nothing changes before it is read: this thread holds the GIL, and no code of the item's runs,
    // since it is an `int` and of no other class.
    let plain = unsafe {
        let item = ffi::PyList_GetItem(list.as_ptr(), position as ffi::Py_ssize_t);
        (!item.is_null() && ffi::PyLong_CheckExact(item) != 0).then(|| ffi::PyLong_AsLong(item))
    };
    match plain.map(u32::try_from) {
        Some(Ok(id)) => Ok(id),
        _ => {
            PyErr::take(list.py()); // of an integer that is too large, or of a list that has become shorter
            id(&list.get_item(position)?, position, bound)
        }
    }
}

fn id(item: &Bound<'_, PyAny>, position: usize, bound: u32) -> PyResult<u32> {
    item.extract::<u32>().or_else(|error| {
        let py = item.py();
        // Every integer has an index; what has none is a TypeError of its own.
        let number = item.call_method0("__index__").map_err(|_| error)?;
        let message = format!(
            "token id {} at position {position} is outside the vocabulary (ids are below {bound})",
            number.str()?
        );
        Err(exception(py, "UnknownIdError", &message))
    })
}
