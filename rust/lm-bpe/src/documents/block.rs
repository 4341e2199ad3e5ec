//! Some documents in a row, and selections of them.
use std::ops::Range;
use std::sync::Arc;

/// A document, or the part of a long one that lies in this block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where its bytes lie in the block's text.
    pub range: Range<usize>,
    /// Whether the document ends with it.
    pub last: bool,
}

/// Pieces of documents in order, each of another document; only the last one may go on in the next block. Their bytes
/// are shared by all selections of a block.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    text: Arc<Vec<u8>>,
    pieces: Vec<Piece>,
}

impl Documents {
    pub(super) fn new(text: Arc<Vec<u8>>, pieces: Vec<Piece>) -> Self {
        Self { text, pieces }
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The bytes of one of the pieces.
    pub fn bytes(&self, piece: &Piece) -> &[u8] {
        &self.text[piece.range.clone()]
    }

    /// What the ranges of the pieces are places in.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The documents that end here.
    pub fn ended(&self) -> usize {
        self.pieces.iter().filter(|piece| piece.last).count()
    }

    /// Bytes of text.
    pub fn text_bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.range.len()).sum()
    }

    /// The pieces at places that are `chosen`, and the others. O(pieces).
    pub fn split(&self, chosen: impl Fn(usize) -> bool) -> (Self, Self) {
        let mut parts = (self.without_pieces(), self.without_pieces());
        for (place, piece) in self.pieces.iter().enumerate() {
            let part = if chosen(place) { &mut parts.0 } else { &mut parts.1 };
            part.pieces.push(piece.clone());
        }
        parts
    }

    /// The first `bytes` bytes of text, and the rest. A document that is cut, or that ends there, ends: it becomes two
    /// (where one part would be empty, there is none). O(pieces).
    pub fn split_at(&self, bytes: usize) -> (Self, Self) {
        let mut parts = (self.without_pieces(), self.without_pieces());
        let mut left = bytes;
        for piece in &self.pieces {
            let Range { start, end } = piece.range;
            let here = left.min(end - start);
            if here == end - start && left > 0 || start == end {
                parts.0.pieces.push(piece.clone());
            } else {
                if here > 0 {
                    parts.0.pieces.push(Piece { range: start..start + here, last: true });
                }
                parts.1.pieces.push(Piece { range: start + here..end, last: piece.last });
            }
            left -= here;
        }
        if left == 0
            && let Some(piece) = parts.0.pieces.last_mut()
        {
            piece.last = true;
        }
        parts
    }

    fn without_pieces(&self) -> Self {
        Self { text: Arc::clone(&self.text), pieces: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(texts: &[(&str, bool)]) -> Documents {
        let mut text = Vec::new();
        let mut pieces = Vec::new();
        for (piece, last) in texts {
            text.extend_from_slice(piece.as_bytes());
            pieces.push(Piece { range: text.len() - piece.len()..text.len(), last: *last });
        }
        Documents::new(Arc::new(text), pieces)
    }

    fn texts(documents: &Documents) -> Vec<(&str, bool)> {
        let text = |piece| std::str::from_utf8(documents.bytes(piece)).unwrap();
        documents.pieces().iter().map(|piece| (text(piece), piece.last)).collect()
    }

    #[test]
    fn chosen_documents_and_the_others_keep_their_order() {
        let documents = documents(&[("a", true), ("bc", true), ("d", true), ("e", false)]);
        let (chosen, others) = documents.split(|place| place == 1 || place == 3);
        assert_eq!(texts(&chosen), [("bc", true), ("e", false)]);
        assert_eq!(texts(&others), [("a", true), ("d", true)]);
        assert_eq!((documents.ended(), documents.text_bytes(), chosen.ended()), (3, 5, 1));
    }

    #[test]
    fn a_cut_ends_the_document_that_it_falls_into_or_behind() {
        let documents = documents(&[("", true), ("abc", true), ("def", false)]);
        for (bytes, first, rest) in [
            (0, vec![("", true)], vec![("abc", true), ("def", false)]),
            (2, vec![("", true), ("ab", true)], vec![("c", true), ("def", false)]),
            (3, vec![("", true), ("abc", true)], vec![("def", false)]),
            (4, vec![("", true), ("abc", true), ("d", true)], vec![("ef", false)]),
            (6, vec![("", true), ("abc", true), ("def", true)], vec![]),
        ] {
            let parts = documents.split_at(bytes);
            assert_eq!((texts(&parts.0), texts(&parts.1)), (first, rest), "{bytes}");
        }
    }
}
