//! A thread that reads, as many that encode as there are encoders, and one that hashes and writes, all at once.
//!
//! The reader puts each window of text among the tasks and, in the order of the text, a place for its ids into a
//! queue of bounded length, which is what bounds memory. Any encoder takes any task; the writer empties the queue. No
//! thread outlives the call, and whichever ends early closes its channels, which ends the others.
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use super::super::error::{io, wrong};
use super::Layout;
use super::sink::Sink;
use super::window::{Encoded, encode_window};
use crate::open::open;
use crate::threads::{Progress, lock};
use crate::{Encoder, Error, Pattern, SpecialTokens, Windows};

/// Text that is read, encoded and written at a time; longer only where a text has no place to be cut.
const WINDOW: usize = 1 << 18;

/// Windows that may be under way for each encoder.
const AHEAD: usize = 8;

pub(super) struct Pipeline<'a> {
    pub(super) sources: &'a [PathBuf],
    pub(super) pattern: Pattern,
    pub(super) separator: &'a SpecialTokens,
    pub(super) layout: &'a Layout,
}

/// A window to encode.
struct Task<'a> {
    source: &'a Path,
    /// Its place in the source.
    start: usize,
    memory: Memory,
    done: SyncSender<Done>,
}

/// A window's text, and room for the bytes of its ids.
#[derive(Default)]
struct Memory {
    text: Vec<u8>,
    bytes: Vec<u8>,
}

/// A window's text, to be used again, and what became of it.
type Done = Result<(Vec<u8>, Encoded), Error>;

/// What the writer gets, in the order of the text.
enum Step {
    Window(Receiver<Done>),
    EndOfSource,
    Failed(Error),
}

impl<'a> Pipeline<'a> {
    /// All sources into `sink`; `stop` is what the encoders look at. Fails with the first error in the order of the text, or [`Error::Interrupted`].
    pub(super) fn run(
        &self,
        encoders: &mut [Encoder],
        stop: &AtomicBool,
        sink: &mut Sink<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), Error> {
        let spare = Mutex::new(Vec::new());
        let (tasks, waiting) = channel();
        let waiting = Mutex::new(waiting);
        let (steps, in_order) = sync_channel(AHEAD * encoders.len());
        let (report, reports) = channel();
        std::thread::scope(|scope| {
            let (spare, waiting) = (&spare, &waiting);
            scope.spawn(move || self.read_all(&tasks, &steps, spare, stop));
            for encoder in encoders {
                scope.spawn(move || self.encode_all(encoder, waiting));
            }
            let writer = scope.spawn(move || write_all(&in_order, sink, spare, &report));
            let mut done = 0;
            loop {
                match reports.recv_timeout(Duration::from_millis(100)) {
                    Ok(bytes) => done += bytes,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if !stop.load(Ordering::Relaxed) && progress(done).is_break() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            if stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { written }
        })
    }

    /// Reads every source, until the end, an error, or a wish to stop.
    fn read_all(
        &self,
        tasks: &Sender<Task<'a>>,
        steps: &SyncSender<Step>,
        spare: &Mutex<Vec<Memory>>,
        stop: &AtomicBool,
    ) {
        for source in self.sources {
            let end = match self.read(source, tasks, steps, spare, stop) {
                Ok(()) => Step::EndOfSource,
                Err(error) => Step::Failed(io(source, &error)),
            };
            // Nobody listens after an error: then there is nothing left to do.
            if stop.load(Ordering::Relaxed) || steps.send(end).is_err() {
                return;
            }
        }
    }

    fn read(
        &self,
        source: &'a Path,
        tasks: &Sender<Task<'a>>,
        steps: &SyncSender<Step>,
        spare: &Mutex<Vec<Memory>>,
        stop: &AtomicBool,
    ) -> std::io::Result<()> {
        let mut windows = Windows::new(open(source)?, self.pattern, self.separator, WINDOW);
        let mut start = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut memory = lock(spare).pop().unwrap_or_default();
            memory.text.clear();
            if !windows.next(&mut memory.text)? {
                break;
            }
            let length = memory.text.len();
            let (done, place) = sync_channel(1);
            if steps.send(Step::Window(place)).is_err() || tasks.send(Task { source, start, memory, done }).is_err() {
                break;
            }
            start += length;
        }
        Ok(())
    }

    /// Encodes windows until no more can come.
    fn encode_all(&self, encoder: &mut Encoder, waiting: &Mutex<Receiver<Task<'_>>>) {
        let mut ids = Vec::new();
        loop {
            let task = lock(waiting).recv();
            let Ok(Task { source, start, memory: Memory { text, bytes }, done }) = task else { return };
            let encoded = encode_window(encoder, self.separator, self.layout, (&text, start), &mut ids, bytes);
            // The writer has gone if another window failed before this one.
            let _ = done.send(encoded.map(|encoded| (text, encoded)).map_err(|error| in_file(source, error)));
        }
    }
}

/// Writes what comes, and reports the bytes of text that it came from, until there is no more.
fn write_all(
    in_order: &Receiver<Step>,
    sink: &mut Sink<'_>,
    spare: &Mutex<Vec<Memory>>,
    report: &Sender<u64>,
) -> Result<(), Error> {
    for step in in_order {
        match step {
            Step::Window(place) => {
                // An encoder that ends without an answer has panicked, which reaches the caller by itself.
                let (text, encoded) = place.recv().unwrap_or(Err(Error::Interrupted))?;
                sink.write(&encoded)?;
                // The receiver waits until this sender is gone.
                report.send(text.len() as u64).unwrap_or_default();
                lock(spare).push(Memory { text, bytes: encoded.bytes });
            }
            Step::EndOfSource => sink.end_document()?,
            Step::Failed(error) => return Err(error),
        }
    }
    Ok(())
}

/// Names the file in an error about its text.
fn in_file(source: &Path, error: Error) -> Error {
    match error {
        Error::UnknownCharacter { .. } | Error::NotUtf8 { .. } => wrong(source, "", error.to_string()),
        other => other,
    }
}
