//! Work shared among threads that live as long as the call, while the caller's own thread reports and may stop it.
//! No thread outlives its call, so a fork between calls is safe.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;

/// Told the bytes done so far, on the caller's thread, at least ten times a second. Breaking ends the call with [`Error::Interrupted`].
pub type Progress<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// The number of threads for a wish: 0 is one for each processor that this process may use.
pub(crate) fn threads(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        wanted => wanted,
    }
}

/// Calls `step` with each state, over and over, until it returns `None`: nothing is left to do. `Some` is how many
/// bytes it did. Every state works on a thread of its own. An error or a wish of `progress` ends all and sets `stop`,
/// which is unset before and which a long step may look at.
pub(crate) fn share<S: Send>(
    states: &mut [S],
    stop: &AtomicBool,
    progress: &mut Progress<'_>,
    step: impl Fn(&mut S) -> Result<Option<usize>, Error> + Sync,
) -> Result<(), Error> {
    let mut done = 0;
    let outcome = Mutex::new(Ok(()));
    let end = |error: Error| {
        let mut outcome = lock(&outcome);
        if outcome.is_ok() {
            *outcome = Err(error);
        }
        stop.store(true, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        let (report, reports) = channel();
        for state in states {
            let (report, step, end) = (report.clone(), &step, &end);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match step(state) {
                        // The receiver waits until every sender is gone.
                        Ok(Some(bytes)) => report.send(bytes as u64).unwrap_or_default(),
                        Ok(None) => return,
                        Err(error) => end(error),
                    }
                }
            });
        }
        drop(report);
        loop {
            match reports.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => done += bytes,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if !stop.load(Ordering::Relaxed) && progress(done).is_break() {
                end(Error::Interrupted);
            }
        }
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Locks even if a thread panicked with the lock held: the panic itself reaches the caller when its scope ends.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
