//! Encoders that stay warm between calls, for any number of Python threads.
use std::sync::{Arc, Mutex};

use lm_bpe::{EncoderPool, Vocabulary};

/// More pools than this are not kept: each holds some megabytes for each of its threads.
const MOST: usize = 8;

/// Pools that no call is using. Never waits for its lock, which a fork may have left locked: who does not get it
/// makes a pool of their own.
#[derive(Default)]
pub struct Pools {
    idle: Mutex<Vec<EncoderPool>>,
}

impl Pools {
    /// Runs `work` with a pool of its own.
    pub fn with<T>(&self, vocabulary: &Arc<Vocabulary>, work: impl FnOnce(&mut EncoderPool) -> T) -> T {
        let idle = self.idle.try_lock().ok().and_then(|mut idle| idle.pop());
        let mut pool = idle.unwrap_or_else(|| EncoderPool::new(Arc::clone(vocabulary)));
        let done = work(&mut pool);
        if let Ok(mut idle) = self.idle.try_lock()
            && idle.len() < MOST
        {
            idle.push(pool);
        }
        done
    }
}
