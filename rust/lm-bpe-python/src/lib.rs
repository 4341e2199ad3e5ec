//! The Python module `lm_tokenizer._rust`: converts types, lets go of the GIL, maps errors. The words for users are
//! in `lm_tokenizer/tokenizer.py`.
use pyo3::prelude::*;

mod core;
mod counts;
mod decode;
mod documents;
mod encode;
mod errors;
mod ids;
mod pools;
mod special;
mod train;
mod watch;

#[pymodule]
fn _rust(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<core::Core>()?;
    module.add_class::<counts::Counts>()?;
    module.add_class::<documents::Reader>()?;
    module.add_class::<documents::Documents>()?;
    module.add_class::<ids::Buffer>()
}
