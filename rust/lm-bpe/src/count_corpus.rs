//! Counting files and texts on many threads, in bounded memory. Counts add up, so neither threads nor cuts show.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use crate::counts::{PretokenCounts, SHARDS};
use crate::error::Error;
use crate::open;
use crate::pretokenize::Pattern;
use crate::shard::Shard;
use crate::special::{Part, SpecialTokens};
use crate::tally::Tally;
use crate::threads::{Progress, lock, share, threads};
use crate::windows::{Windows, chunks};

/// Bytes that a thread reads at a time: with its counts, all the memory it takes.
const WINDOW: usize = 4 << 20;

/// How to count.
#[derive(Debug, Clone)]
pub struct CountOptions {
    pub pattern: Pattern,
    /// Cut out of the text: they never take part in counting, and no pretoken crosses them.
    pub special: SpecialTokens,
    /// 0 is one for each processor.
    pub threads: usize,
}

/// Counts the pretokens of texts; no pretoken crosses the end of a text.
/// Fails with [`Error::Interrupted`] where `progress` breaks.
pub fn count_texts(
    texts: &[&[u8]],
    options: &CountOptions,
    progress: &mut Progress<'_>,
) -> Result<PretokenCounts, Error> {
    let parts = Mutex::new(texts.iter().flat_map(|text| {
        let ranges = chunks(options.pattern, &options.special, text, WINDOW);
        ranges.into_iter().map(|range| &text[range])
    }));
    count(options, progress, |_| Ok(lock(&parts).next().map(Work::Slice)))
}

/// Counts the pretokens of files, unpacked if their names end in `.gz` or `.zst`; no pretoken crosses the end of a file. Memory: a few MiB a thread, and the counts.
/// Fails with [`Error::Io`] where a file cannot be read, with [`Error::Interrupted`] where `progress` breaks.
pub fn count_files(
    files: &[PathBuf],
    options: &CountOptions,
    progress: &mut Progress<'_>,
) -> Result<PretokenCounts, Error> {
    let mut files = files.iter();
    let mut open: Option<(&Path, Windows<'_, Box<dyn Read + Send>>)> = None;
    let source = Mutex::new(move |buffer: &mut Vec<u8>| {
        loop {
            if let Some((path, windows)) = &mut open {
                if windows.next(buffer).map_err(|error| read_error(path, &error))? {
                    return Ok(Some(Work::Buffer));
                }
                open = None;
            }
            let Some(path) = files.next() else { return Ok(None) };
            let file = open::open(path).map_err(|error| read_error(path, &error))?;
            open = Some((path, Windows::new(file, options.pattern, &options.special, WINDOW)));
        }
    });
    count(options, progress, |buffer| lock(&source)(buffer))
}

/// Counts the pretokens of one stream, as [`count_files`] does; `name` stands in errors for its path.
pub fn count_stream(
    name: &Path,
    stream: impl Read + Send,
    options: &CountOptions,
    progress: &mut Progress<'_>,
) -> Result<PretokenCounts, Error> {
    let windows = Mutex::new(Windows::new(stream, options.pattern, &options.special, WINDOW));
    count(options, progress, |buffer| {
        let more = lock(&windows).next(buffer).map_err(|error| read_error(name, &error))?;
        Ok(more.then_some(Work::Buffer))
    })
}

fn read_error(path: &Path, error: &io::Error) -> Error {
    Error::Io { path: path.display().to_string(), problem: error.to_string() }
}

/// The next text to count: a slice, or what was put into the thread's buffer.
enum Work<'a> {
    Slice(&'a [u8]),
    Buffer,
}

/// Every thread asks `next` for text and counts it; what is rare goes to shards that all share.
fn count<'a>(
    options: &CountOptions,
    progress: &mut Progress<'_>,
    next: impl Fn(&mut Vec<u8>) -> Result<Option<Work<'a>>, Error> + Sync,
) -> Result<PretokenCounts, Error> {
    let shards: Vec<Mutex<Shard>> = (0..SHARDS).map(|_| Mutex::default()).collect();
    let mut states: Vec<_> = (0..threads(options.threads)).map(|_| (Tally::new(), Vec::new())).collect();
    share(&mut states, &AtomicBool::new(false), progress, |(tally, buffer)| {
        let text = match next(buffer)? {
            Some(Work::Slice(slice)) => slice,
            Some(Work::Buffer) => buffer,
            None => {
                tally.finish(&shards);
                return Ok(None);
            }
        };
        for part in options.special.split(text) {
            if let Part::Text(part) = part {
                tally.add_text(options.pattern, part, &shards);
            }
        }
        Ok(Some(text.len()))
    })?;
    let whole = |shard: Mutex<Shard>| shard.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(PretokenCounts::from_shards(shards.into_iter().map(whole).collect()))
}
