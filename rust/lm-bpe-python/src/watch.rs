//! Long work, watched from Python: Ctrl-C ends it within a tenth of a second, and a function is told how far it is.
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use lm_bpe::Error;
use pyo3::prelude::*;

use crate::errors::to_python;

/// Signals are looked for, and progress is told, this often.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asked by the core, without the GIL, whether to go on.
pub struct Watch {
    progress: Option<Py<PyAny>>,
    /// When signals were last looked for; never yet.
    last: Option<Instant>,
    state: (&'static str, u64, Option<u64>),
    raised: Option<PyErr>,
}

impl Watch {
    /// `progress` is a function of (phase, done, total), or nothing.
    pub fn new(progress: Option<Py<PyAny>>) -> Self {
        Self { progress, last: None, state: ("", 0, None), raised: None }
    }

    /// Notes how far the work is; breaks if a signal came or the function raised.
    pub fn at(&mut self, phase: &'static str, done: u64, total: Option<u64>) -> ControlFlow<()> {
        self.state = (phase, done, total);
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return ControlFlow::Continue(());
        }
        let told = Python::attach(|py| {
            py.check_signals()?;
            self.tell(py)
        });
        self.last = Some(Instant::now());
        match told {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.raised = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn tell(&self, py: Python<'_>) -> PyResult<()> {
        match &self.progress {
            Some(function) => function.call1(py, self.state).map(drop),
            None => Ok(()),
        }
    }

    /// The outcome of the work; at a good end the function is told once more, so that it has seen the end.
    pub fn end<T>(self, py: Python<'_>, outcome: Result<T, Error>) -> PyResult<T> {
        match (outcome, self.raised) {
            (Err(_), Some(raised)) => Err(raised),
            (Err(error), None) => Err(to_python(py, &error)),
            (Ok(done), _) => {
                if let Some(function) = self.progress {
                    function.call1(py, self.state)?;
                }
                Ok(done)
            }
        }
    }
}
