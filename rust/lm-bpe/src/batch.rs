//! Many texts to ids on many threads: ids are the same for any number of threads and wherever long texts are cut.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::encode::{Encoder, moved};
use crate::error::Error;
use crate::pretokenize::Pattern;
use crate::special::SpecialTokens;
use crate::threads::{Progress, lock, share, threads};
use crate::vocab::Vocabulary;
use crate::windows::chunks;

/// Bytes that a thread takes at a time from a long text.
const CHUNK: usize = 1 << 18;

/// Parts whose memory is kept between calls: 64 MiB at most.
const SPARE: usize = 32;

/// The ids of many texts in one array; those of text `i` are `ids[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub ids: Vec<u32>,
    pub offsets: Vec<usize>,
}

/// Encoders that are kept between calls, so that their caches stay warm. Not needed after a fork: nothing in it runs.
#[derive(Debug)]
pub struct EncoderPool {
    vocabulary: Arc<Vocabulary>,
    encoders: Vec<Encoder>,
    /// Memory for the ids of parts, used again and again.
    spare: Vec<Vec<u32>>,
}

/// A part of one text.
struct Task {
    text: usize,
    range: Range<usize>,
}

impl EncoderPool {
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary, encoders: Vec::new(), spare: Vec::new() }
    }

    /// The first `count` encoders (at least one), made now if there were fewer.
    pub fn encoders(&mut self, count: usize) -> &mut [Encoder] {
        let count = count.max(1);
        while self.encoders.len() < count {
            self.encoders.push(Encoder::new(Arc::clone(&self.vocabulary)));
        }
        &mut self.encoders[..count]
    }

    /// Encodes every text, as [`Encoder::encode`] would. `wanted` threads, 0 for one a processor; long texts are cut
    /// at safe places and shared among them.
    ///
    /// Fails with the index of the first text that cannot be encoded and its error, or with [`Error::Interrupted`].
    pub fn encode_batch(
        &mut self,
        texts: &[&[u8]],
        special: &SpecialTokens,
        wanted: usize,
        progress: &mut Progress<'_>,
    ) -> Result<Batch, (usize, Error)> {
        let tasks = tasks(self.vocabulary.pattern(), texts, special);
        let results: Vec<Mutex<Result<Vec<u32>, Error>>> =
            tasks.iter().map(|_| Mutex::new(Ok(self.spare.pop().unwrap_or_default()))).collect();
        let next = AtomicUsize::new(0);
        let encoders = self.encoders(threads(wanted).min(tasks.len()));
        let outcome = share(encoders, progress, |encoder| {
            // Tasks are handed out in order and always finished, so the first failure is found whoever fails first.
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(index) else { return Ok(None) };
            let memory = std::mem::replace(&mut *lock(&results[index]), Ok(Vec::new()));
            let mut ids = memory.unwrap_or_default();
            ids.clear();
            let done = encoder.encode(&texts[task.text][task.range.clone()], special, &mut ids);
            let done = done.map_err(|error| moved(error, task.range.start));
            *lock(&results[index]) = done.clone().map(|()| ids);
            done.map(|()| Some(task.range.len()))
        });
        if outcome == Err(Error::Interrupted) {
            return Err((0, Error::Interrupted));
        }
        let total = results.iter().map(|result| lock(result).as_ref().map_or(0, Vec::len)).sum();
        let mut batch = Batch { ids: Vec::with_capacity(total), offsets: vec![0; texts.len() + 1] };
        for (task, result) in tasks.iter().zip(results) {
            let ids = result.into_inner().unwrap_or_else(PoisonError::into_inner);
            let ids = ids.map_err(|error| (task.text, error))?;
            batch.ids.extend_from_slice(&ids);
            batch.offsets[task.text + 1] = batch.ids.len();
            if self.spare.len() < SPARE && ids.capacity() <= 2 * CHUNK {
                self.spare.push(ids);
            }
        }
        Ok(batch)
    }
}

fn tasks(pattern: Option<Pattern>, texts: &[&[u8]], special: &SpecialTokens) -> Vec<Task> {
    let mut tasks = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let whole = || std::iter::once(0..text.len()).collect();
        let ranges: Vec<_> = match pattern {
            Some(pattern) if text.len() > 2 * CHUNK => chunks(pattern, special, text, CHUNK),
            _ => whole(),
        };
        tasks.extend(ranges.into_iter().map(|range| Task { text: index, range }));
    }
    tasks
}
