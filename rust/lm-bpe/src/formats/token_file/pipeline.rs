//! Threads of which each does what is next: read a window of text, encode it, write what is ready, in the order of the
//! text.
//!
//! One thread reads at a time, and one writes: who has encoded a window while another is writing leaves it to that
//! one. So none waits for another, unless too many windows are ready (which is what bounds memory), and on one processor
//! all is done in turn while it is near. No thread outlives the call.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Layout;
use super::reader::{Memory, Reader, Step};
use super::sink::Sink;
use super::window::{Encoded, encode_window};
use crate::threads::{Progress, lock};
use crate::{Encoder, Error, Pattern, SpecialTokens};

/// Windows that may be under way for each encoder.
const AHEAD: u64 = 8;

pub(super) struct Pipeline<'a> {
    pub(super) sources: &'a [PathBuf],
    pub(super) pattern: Pattern,
    pub(super) separator: &'a SpecialTokens,
    pub(super) layout: &'a Layout,
}

/// What the threads share.
struct Shared<'a, 'b> {
    reader: Mutex<Reader<'a>>,
    ready: Mutex<Ready>,
    /// Told of every window that is written.
    written: Condvar,
    sink: Mutex<&'a mut Sink<'b>>,
    spare: Mutex<Vec<Memory>>,
    /// Bytes of text that are written.
    done: AtomicU64,
    /// Set by the first error, and by a panic: nothing more is to be done.
    over: AtomicBool,
    /// Set from outside: the same.
    stop: &'a AtomicBool,
}

/// Steps of the text that were done before their turn to be written came.
#[derive(Default)]
struct Ready {
    steps: BTreeMap<u64, Result<Done, Error>>,
    /// The one whose turn it is.
    next: u64,
    /// A thread is writing, and will go on as long as the next step is there.
    writing: bool,
    failed: Option<Error>,
}

enum Done {
    /// Bytes of the source, the memory of its text, and what became of it.
    Window(u64, Vec<u8>, Encoded),
    EndOfSource,
}

impl Pipeline<'_> {
    /// All sources into `sink`; `stop` is what the encoders look at. Fails with the first error in the order of the text, or [`Error::Interrupted`].
    pub(super) fn run(
        &self,
        encoders: &mut [Encoder],
        stop: &AtomicBool,
        sink: &mut Sink<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), Error> {
        let ahead = AHEAD * encoders.len() as u64;
        let shared = Shared {
            reader: Mutex::new(Reader::new(self.sources, self.pattern, self.separator, self.layout)),
            ready: Mutex::default(),
            written: Condvar::new(),
            sink: Mutex::new(sink),
            spare: Mutex::default(),
            done: AtomicU64::new(0),
            over: AtomicBool::new(false),
            stop,
        };
        std::thread::scope(|scope| {
            let (working, all_ended) = channel::<()>();
            for encoder in encoders {
                let (shared, working) = (&shared, working.clone());
                scope.spawn(move || {
                    let _working = working; // until this thread ends
                    let _over = OverOnPanic(&shared.over);
                    self.work(encoder, shared, ahead);
                });
            }
            drop(working);
            loop {
                let ended = all_ended.recv_timeout(Duration::from_millis(100));
                if !stop.load(Ordering::Relaxed) && progress(shared.done.load(Ordering::Relaxed)).is_break() {
                    stop.store(true, Ordering::Relaxed);
                }
                if ended == Err(RecvTimeoutError::Disconnected) {
                    break;
                }
            }
        });
        let failed = shared.ready.into_inner().unwrap_or_else(PoisonError::into_inner).failed;
        match failed {
            _ if stop.load(Ordering::Relaxed) => Err(Error::Interrupted),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Reads, encodes and writes until nothing is left to be read.
    fn work(&self, encoder: &mut Encoder, shared: &Shared<'_, '_>, ahead: u64) {
        while let Some((number, step)) = shared.read(ahead) {
            let done = step.and_then(|step| match step {
                Step::EndOfSource => Ok(Done::EndOfSource),
                Step::Window(mut window) => {
                    let bytes = std::mem::take(&mut window.memory.bytes);
                    let encoded = encode_window(encoder, self.separator, self.layout, &window, bytes)?;
                    Ok(Done::Window(window.source_bytes, window.memory.text, encoded))
                }
            });
            shared.write(number, done);
        }
    }
}

impl Shared<'_, '_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)
    }

    /// The next step of the text and its number, as soon as no more than `ahead` of them wait to be written.
    fn read(&self, ahead: u64) -> Option<(u64, Result<Step<'_>, Error>)> {
        let mut reader = lock(&self.reader);
        let number = reader.steps();
        let mut ready = lock(&self.ready);
        while number >= ready.next + ahead && !self.is_over() {
            let waited = self.written.wait_timeout(ready, Duration::from_millis(50));
            ready = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(ready);
        if self.is_over() {
            return None;
        }
        let memory = lock(&self.spare).pop().unwrap_or_default();
        reader.next(memory).map(|step| (number, step))
    }

    /// Writes a step that is done, and those that wait behind it; or leaves it to the thread that is writing, or whose
    /// own step comes first.
    fn write(&self, number: u64, done: Result<Done, Error>) {
        let mut ready = lock(&self.ready);
        ready.steps.insert(number, done);
        if ready.writing {
            return;
        }
        ready.writing = true;
        loop {
            let next = ready.next;
            let Some(done) = ready.steps.remove(&next) else { break };
            ready.next += 1;
            drop(ready);
            let outcome = done.and_then(|done| self.write_one(done));
            ready = lock(&self.ready);
            self.written.notify_all();
            if let Err(error) = outcome {
                ready.failed = Some(error);
                self.over.store(true, Ordering::Relaxed);
                return; // and nobody writes any more
            }
        }
        ready.writing = false;
    }

    fn write_one(&self, done: Done) -> Result<(), Error> {
        let mut sink = lock(&self.sink);
        match done {
            Done::EndOfSource => sink.end_document(),
            Done::Window(source_bytes, text, encoded) => {
                sink.write(&encoded)?;
                self.done.fetch_add(source_bytes, Ordering::Relaxed);
                lock(&self.spare).push(Memory { text, bytes: encoded.bytes });
                Ok(())
            }
        }
    }
}

/// A panic, which reaches the caller by itself, ends the other threads, too.
struct OverOnPanic<'a>(&'a AtomicBool);

impl Drop for OverOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
