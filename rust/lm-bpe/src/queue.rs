//! A binary heap whose order is given by the caller: the best pair needs the tokens' bytes to be told from its ties.

use crate::words::Pair;

/// A pair that may be merged next, with its count when it was put in; the true count may have fallen since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) count: i64,
    pub(crate) pair: Pair,
}

/// The best candidate on top. O(log n) a push or pop.
#[derive(Default)]
pub(crate) struct Queue {
    heap: Vec<Candidate>,
}

impl Queue {
    /// `better(a, b)`: whether `a` comes out before `b`.
    pub(crate) fn push(&mut self, candidate: Candidate, better: impl Fn(&Candidate, &Candidate) -> bool) {
        let mut at = self.heap.len();
        self.heap.push(candidate);
        while at > 0 && better(&candidate, &self.heap[(at - 1) / 2]) {
            self.heap[at] = self.heap[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        self.heap[at] = candidate;
    }

    pub(crate) fn pop(&mut self, better: impl Fn(&Candidate, &Candidate) -> bool) -> Option<Candidate> {
        let last = self.heap.pop()?;
        let Some(&top) = self.heap.first() else { return Some(last) };
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            if child + 1 < self.heap.len() && better(&self.heap[child + 1], &self.heap[child]) {
                child += 1;
            }
            if child >= self.heap.len() || !better(&self.heap[child], &last) {
                self.heap[at] = last;
                return Some(top);
            }
            self.heap[at] = self.heap[child];
            at = child;
        }
    }
}
