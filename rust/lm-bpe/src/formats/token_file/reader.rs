//! The sources as windows of text, in order.
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::error::io;
use super::Layout;
use crate::json_lines::Lines;
use crate::open::open;
use crate::{Error, Pattern, SpecialTokens, Windows};

/// Text that is read, encoded and written at a time; longer only where a text has no place to be cut.
const WINDOW: usize = 1 << 18;

/// Memory that is used again and again: for a window's text, and for the bytes of its ids.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) text: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

pub(super) enum Step<'a> {
    Window(Window<'a>),
    EndOfSource,
}

/// A part of a source.
pub(super) struct Window<'a> {
    pub(super) source: &'a Path,
    /// Where it begins in the source: its first byte, and its first line, if lines are what is read.
    pub(super) start: usize,
    pub(super) line: u64,
    pub(super) source_bytes: u64,
    pub(super) memory: Memory,
}

type Opened = Box<dyn Read + Send>;

/// A source that is being read.
enum Parts<'a> {
    Text(Windows<'a, Opened>),
    Lines(Lines<Opened>),
}

pub(super) struct Reader<'a> {
    sources: std::slice::Iter<'a, PathBuf>,
    pattern: Pattern,
    separator: &'a SpecialTokens,
    in_lines: bool,
    /// The one at hand, with the place and the line to go on from.
    source: Option<(&'a Path, Parts<'a>, usize, u64)>,
    steps: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        sources: &'a [PathBuf],
        pattern: Pattern,
        separator: &'a SpecialTokens,
        layout: &'a Layout,
    ) -> Self {
        let in_lines = layout.field.is_some();
        Self { sources: sources.iter(), pattern, separator, in_lines, source: None, steps: 0 }
    }

    /// How many steps there were.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// The next one; `None` at the end. After an error there is no sense in going on.
    pub(super) fn next(&mut self, mut memory: Memory) -> Option<Result<Step<'a>, Error>> {
        if self.source.is_none() {
            let source = self.sources.next()?;
            match open(source) {
                Ok(opened) => self.source = Some((source, self.parts(opened), 0, 1)),
                Err(error) => return Some(self.counted(Err(io(source, &error)))),
            }
        }
        let (source, parts, start, line) = self.source.as_mut().expect("it is open now");
        memory.text.clear();
        let read = match parts {
            Parts::Text(windows) => windows.next(&mut memory.text),
            Parts::Lines(lines) => lines.next(&mut memory.text),
        };
        let step = match read {
            Err(error) => Err(io(source, &error)),
            Ok(false) => {
                self.source = None;
                Ok(Step::EndOfSource)
            }
            Ok(true) => {
                let length = memory.text.len();
                let (first, first_line) = (*start, *line);
                *start += length;
                if self.in_lines {
                    *line += memory.text.iter().filter(|&&byte| byte == b'\n').count() as u64;
                }
                let source_bytes = length as u64;
                Ok(Step::Window(Window { source, start: first, line: first_line, source_bytes, memory }))
            }
        };
        Some(self.counted(step))
    }

    fn parts(&self, opened: Opened) -> Parts<'a> {
        if self.in_lines {
            Parts::Lines(Lines::new(opened, WINDOW))
        } else {
            Parts::Text(Windows::new(opened, self.pattern, self.separator, WINDOW))
        }
    }

    fn counted<T>(&mut self, step: T) -> T {
        self.steps += 1;
        step
    }
}
