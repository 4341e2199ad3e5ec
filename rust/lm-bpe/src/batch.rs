//! Many texts to ids on many threads: ids are the same for any number of threads and wherever long texts are cut.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::encode::{Encoder, moved};
use crate::error::Error;
use crate::news::News;
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
    /// Set where the call at hand is to end early; the encoders look at it.
    stop: Arc<AtomicBool>,
    /// What its encoders tell each other.
    news: News,
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
        Self { vocabulary, encoders: Vec::new(), stop: Arc::default(), news: News::default(), spare: Vec::new() }
    }

    /// The first `count` encoders (at least one), and what stops them.
    pub(crate) fn stoppable(&mut self, count: usize) -> (&mut [Encoder], Arc<AtomicBool>) {
        let stop = Arc::clone(&self.stop);
        (self.encoders(count), stop)
    }

    /// The first `count` encoders (at least one), made now if there were fewer.
    pub fn encoders(&mut self, count: usize) -> &mut [Encoder] {
        let count = count.max(1);
        self.stop.store(false, Ordering::Relaxed); // the call before may have been ended
        while self.encoders.len() < count {
            self.encoders.push(Encoder::stoppable(Arc::clone(&self.vocabulary), Arc::clone(&self.stop)));
        }
        let encoders = &mut self.encoders[..count];
        if count > 1 {
            encoders.iter_mut().for_each(|encoder| encoder.listen(&self.news));
        }
        encoders
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
        let memory = std::mem::take(&mut self.spare);
        let parts = self.each_part(texts, special, wanted, progress, memory, |encoder, text, ids: &mut Vec<u32>| {
            ids.clear();
            encoder.encode(text, special, ids)
        })?;
        let total = parts.iter().map(|part| part.1.len()).sum();
        let mut batch = Batch { ids: Vec::with_capacity(total), offsets: vec![0; texts.len() + 1] };
        for (text, ids) in parts {
            batch.ids.extend_from_slice(&ids);
            batch.offsets[text + 1] = batch.ids.len();
            if self.spare.len() < SPARE && ids.capacity() <= 2 * CHUNK {
                self.spare.push(ids);
            }
        }
        Ok(batch)
    }

    /// How many ids each text has, as [`Encoder::count`] would say; else as [`EncoderPool::encode_batch`].
    pub fn count_batch(
        &mut self,
        texts: &[&[u8]],
        special: &SpecialTokens,
        wanted: usize,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<usize>, (usize, Error)> {
        let parts = self.each_part(texts, special, wanted, progress, Vec::new(), |encoder, text, count| {
            encoder.count(text, special).map(|ids| *count = ids)
        })?;
        let mut counts = vec![0; texts.len()];
        for (text, count) in parts {
            counts[text] += count;
        }
        Ok(counts)
    }

    /// `work(encoder, part, result)` for the parts of all texts, each of which has at least one: the number of the
    /// text and the result, in order. Results begin as those in `memory`, then as new ones.
    fn each_part<R: Default + Send>(
        &mut self,
        texts: &[&[u8]],
        special: &SpecialTokens,
        wanted: usize,
        progress: &mut Progress<'_>,
        mut memory: Vec<R>,
        work: impl Fn(&mut Encoder, &[u8], &mut R) -> Result<(), Error> + Sync,
    ) -> Result<Vec<(usize, R)>, (usize, Error)> {
        let tasks = tasks(self.vocabulary.pattern(), texts, special);
        let results: Vec<Mutex<(R, Result<(), Error>)>> =
            tasks.iter().map(|_| Mutex::new((memory.pop().unwrap_or_default(), Ok(())))).collect();
        let next = AtomicUsize::new(0);
        let stop = Arc::clone(&self.stop);
        let encoders = self.encoders(threads(wanted).min(tasks.len()));
        let outcome = share(encoders, &stop, progress, |encoder| {
            // Tasks are handed out in order and always finished, so the first failure is found whoever fails first.
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(index) else { return Ok(None) };
            let (result, done) = &mut *lock(&results[index]); // which nobody else wants
            *done = work(encoder, &texts[task.text][task.range.clone()], result)
                .map_err(|error| moved(error, task.range.start));
            done.clone().map(|()| Some(task.range.len()))
        });
        if outcome == Err(Error::Interrupted) {
            return Err((0, Error::Interrupted));
        }
        let results = tasks.iter().zip(results).map(|(task, result)| {
            let (result, done) = result.into_inner().unwrap_or_else(PoisonError::into_inner);
            done.map(|()| (task.text, result)).map_err(|error| (task.text, error))
        });
        results.collect()
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
