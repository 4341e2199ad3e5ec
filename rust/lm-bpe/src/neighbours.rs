//! What one merge changes in the counts of other pairs, gathered by neighbour before any table is touched.
//!
//! When `(a, b)` becomes `m`, each left neighbour `p` turns a pair `(p, a)` into `(p, m)`, each right neighbour `q` a
//! pair `(b, q)` into `(m, q)`, and two occurrences in a row turn `(b, a)` into `(m, m)`. Neighbours repeat a lot, so
//! sums are kept in arrays indexed by their ids: four array updates an occurrence, one table update a neighbour.

use crate::words::Pair;

const NONE: u32 = u32::MAX;

/// One way in which the merge turns a pair into another.
pub(crate) struct Change {
    pub(crate) lost: Pair,
    pub(crate) won: Pair,
    /// The occurrences, weighted by the counts of their words.
    pub(crate) count: i64,
    /// How many places the won pair has.
    places: u32,
}

/// The changes of the merge at hand. Arrays are kept between merges and cleared by what was touched.
#[derive(Default)]
pub(crate) struct Neighbours {
    pair: Pair,
    merged: u32,
    /// The change of each left and right neighbour, by id.
    lefts: Vec<u32>,
    rights: Vec<u32>,
    /// The change of `(merged, merged)`.
    twins: u32,
    changes: Vec<Change>,
    /// (change, place of the won pair), by ascending places for each change.
    events: Vec<(u32, u32)>,
    /// Where the next place of each change goes.
    nexts: Vec<usize>,
}

impl Neighbours {
    /// Starts a merge that makes the new id `merged`, the largest so far.
    pub(crate) fn start(&mut self, pair: Pair, merged: u32) {
        for change in &self.changes {
            let (left, right) = (change.won.0 as usize, change.won.1 as usize);
            self.lefts[left] = NONE;
            self.rights[right] = NONE;
        }
        self.lefts.resize(merged as usize + 1, NONE);
        self.rights.resize(merged as usize + 1, NONE);
        self.changes.clear();
        self.events.clear();
        (self.pair, self.merged, self.twins) = (pair, merged, NONE);
    }

    /// An occurrence with `left` before it.
    pub(crate) fn left(&mut self, left: u32, count: i64, place: u32) {
        let mut change = self.lefts[left as usize];
        if change == NONE {
            change = self.add((left, self.pair.0), (left, self.merged));
            self.lefts[left as usize] = change;
        }
        self.count(change, count, place);
    }

    /// An occurrence with `right` behind it.
    pub(crate) fn right(&mut self, right: u32, count: i64, place: u32) {
        let mut change = self.rights[right as usize];
        if change == NONE {
            change = self.add((self.pair.1, right), (self.merged, right));
            self.rights[right as usize] = change;
        }
        self.count(change, count, place);
    }

    /// An occurrence with another directly behind it.
    pub(crate) fn twins(&mut self, count: i64, place: u32) {
        if self.twins == NONE {
            self.twins = self.add((self.pair.1, self.pair.0), (self.merged, self.merged));
        }
        self.count(self.twins, count, place);
    }

    fn add(&mut self, lost: Pair, won: Pair) -> u32 {
        self.changes.push(Change { lost, won, count: 0, places: 0 });
        self.changes.len() as u32 - 1
    }

    fn count(&mut self, index: u32, count: i64, place: u32) {
        let change = &mut self.changes[index as usize];
        change.count = change.count.saturating_add(count);
        change.places += 1;
        self.events.push((index, place));
    }

    pub(crate) fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The places of every won pair, laid out one list after another at the end of `places`.
    /// Calls `list(pair, start, length)` for each. O(events).
    pub(crate) fn list_places(&mut self, places: &mut Vec<u32>, mut list: impl FnMut(Pair, usize, u32)) {
        let mut start = places.len();
        places.resize(start + self.events.len(), 0);
        self.nexts.clear();
        for change in &self.changes {
            list(change.won, start, change.places);
            self.nexts.push(start);
            start += change.places as usize;
        }
        for &(change, place) in &self.events {
            let next = &mut self.nexts[change as usize];
            places[*next] = place;
            *next += 1;
        }
    }
}
