//! A block of documents to the bytes of its ids, on all threads.
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Documents;
use crate::encode::moved;
use crate::ids::{Ids, Packed};
use crate::threads::{Progress, lock, share, threads};
use crate::windows::chunks;
use crate::{Encoder, EncoderPool, Error, SpecialTokens};

/// Bytes of text that a thread takes at a time.
const CHUNK: usize = 1 << 18;

/// What a block of documents became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedDocuments {
    /// The ids, little-endian u16 or u32 in a row.
    pub bytes: Vec<u8>,
    /// Where documents end, in ids, what is appended included.
    pub ends: Vec<i64>,
    /// `None` where there is no id.
    pub largest_id: Option<u32>,
}

/// Pieces of documents, or parts of a long one, that one thread encodes in one go.
struct Task {
    parts: Vec<(Range<usize>, bool)>,
}

/// Encodes a block of documents, each by itself; special tokens in their text are ordinary text. `append` is put after each document that
/// ends; ids are u32 if `wide`, else u16, which every id of the vocabulary must fit. `wanted` threads, 0 for one a processor.
///
/// Fails with the place of the first piece that cannot be encoded and its error, or with [`Error::Interrupted`].
pub fn encode_documents(
    pool: &mut EncoderPool,
    documents: &Documents,
    append: Option<u32>,
    wide: bool,
    wanted: usize,
    progress: &mut Progress<'_>,
) -> Result<EncodedDocuments, (usize, Error)> {
    let tasks = tasks(documents);
    let next = AtomicUsize::new(0);
    let taken = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        tasks.get(index).map(|task| (index, task))
    };
    let (encoders, stop) = pool.stoppable(threads(wanted).min(tasks.len()));
    let width = if wide { 4 } else { 2 };
    let mut all = EncodedDocuments::default();
    if let [encoder] = encoders {
        all.bytes.reserve(documents.text_bytes() / 4 * width); // where most texts end
        let mut done = Ok(());
        let outcome = share(&mut [(encoder, &mut all, &mut done)], &stop, progress, |(encoder, all, done)| {
            let Some((_, task)) = taken() else { return Ok(None) };
            **done = encode_task(encoder, documents, task, append, wide, all);
            done.clone().map(|()| Some(task.bytes()))
        });
        return match outcome {
            Err(Error::Interrupted) => Err((0, Error::Interrupted)),
            _ => done.map(|()| all).map_err(|error| in_piece(documents, error)),
        };
    }
    let results: Vec<_> = tasks.iter().map(|_| Mutex::new((EncodedDocuments::default(), Ok(())))).collect();
    let outcome = share(encoders, &stop, progress, |encoder| {
        let Some((index, task)) = taken() else { return Ok(None) };
        // Tasks are handed out in order and always finished, so the first failure is found whoever fails first.
        let (encoded, done) = &mut *lock(&results[index]); // which nobody else wants
        *done = encode_task(encoder, documents, task, append, wide, encoded);
        done.clone().map(|()| Some(task.bytes()))
    });
    if outcome == Err(Error::Interrupted) {
        return Err((0, Error::Interrupted));
    }
    let results: Vec<_> =
        results.into_iter().map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
    let parts: Vec<_> = results
        .into_iter()
        .map(|(part, done)| done.map(|()| part))
        .collect::<Result<_, _>>()
        .map_err(|error| in_piece(documents, error))?;
    all.bytes.reserve_exact(parts.iter().map(|part| part.bytes.len()).sum());
    all.ends.reserve_exact(parts.iter().map(|part| part.ends.len()).sum());
    all.largest_id = parts.iter().filter_map(|part| part.largest_id).max();
    for part in parts {
        let before = (all.bytes.len() / width) as i64;
        all.ends.extend(part.ends.iter().map(|end| before + end));
        all.bytes.extend_from_slice(&part.bytes);
    }
    Ok(all)
}

impl Task {
    fn bytes(&self) -> usize {
        self.parts.iter().map(|(range, _)| range.len()).sum()
    }
}

/// Appends the ids of one task, and where documents end in all of them.
fn encode_task(
    encoder: &mut Encoder,
    documents: &Documents,
    task: &Task,
    append: Option<u32>,
    wide: bool,
    encoded: &mut EncodedDocuments,
) -> Result<(), Error> {
    let mut ids = Packed::onto(wide, std::mem::take(&mut encoded.bytes), encoded.largest_id);
    for (range, ends) in &task.parts {
        let text = &documents.text()[range.clone()];
        encoder.encode_into(text, &mut ids).map_err(|error| moved(error, range.start))?;
        if *ends {
            ids.add(append.as_slice());
            encoded.ends.push(ids.len() as i64);
        }
    }
    (encoded.largest_id, encoded.bytes) = (ids.largest(), ids.into_bytes());
    Ok(())
}

/// The pieces in lists of about [`CHUNK`] bytes; a longer piece is cut at safe places.
fn tasks(documents: &Documents) -> Vec<Task> {
    let (none, mut tasks, mut parts, mut held) = (SpecialTokens::default(), Vec::new(), Vec::new(), 0);
    for piece in documents.pieces() {
        let start = piece.range.start;
        let mut ranges = match piece.range.len() {
            0..=CHUNK => std::iter::once(0..piece.range.len()).collect(),
            _ => chunks(crate::Pattern::Gpt2, &none, documents.bytes(piece), CHUNK), // a cut is one for every pattern
        };
        let end = ranges.pop().unwrap_or(0..0);
        for (range, last) in ranges.into_iter().map(|range| (range, false)).chain([(end, piece.last)]) {
            held += range.len();
            parts.push((start + range.start..start + range.end, last));
            if held >= CHUNK {
                tasks.push(Task { parts: std::mem::take(&mut parts) });
                held = 0;
            }
        }
    }
    if !parts.is_empty() {
        tasks.push(Task { parts });
    }
    tasks
}

/// An error at a place of the block's text, told for the piece that it lies in.
fn in_piece(documents: &Documents, error: Error) -> (usize, Error) {
    let at = match error {
        Error::UnknownCharacter { position, .. } | Error::NotUtf8 { position } => position,
        error => return (0, error),
    };
    let pieces = documents.pieces();
    let place = pieces.partition_point(|piece| piece.range.end <= at).min(pieces.len().saturating_sub(1));
    let error = match (error, pieces.get(place)) {
        (Error::UnknownCharacter { character, position }, Some(piece)) => {
            Error::UnknownCharacter { character, position: position - piece.range.start }
        }
        (Error::NotUtf8 { position }, Some(piece)) => Error::NotUtf8 { position: position - piece.range.start },
        (error, _) => error,
    };
    (place, error)
}
