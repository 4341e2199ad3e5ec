//! The kind of each character, as one bit, so that a set of kinds is a mask and a test is one `&`.

use super::unicode_runs::RUNS;

pub(super) const UPPER: u8 = 1; // Lu, Lt
pub(super) const LOWER: u8 = 2; // Ll
pub(super) const CASELESS: u8 = 4; // Lm, Lo
pub(super) const MARK: u8 = 8; // M
pub(super) const NUMBER: u8 = 16; // N
pub(super) const SPACE: u8 = 32; // White_Space
pub(super) const OTHER: u8 = 64; // all else: punctuation, symbols, controls, unassigned, and bytes that are not UTF-8
pub(super) const LINE_END: u8 = 128; // besides SPACE: \r and \n

pub(super) const LETTER: u8 = UPPER | LOWER | CASELESS;

/// The order in which `unicode_runs.rs` numbers the classes.
const BITS: [u8; 7] = [OTHER, UPPER, LOWER, CASELESS, MARK, NUMBER, SPACE];

const PAGE: usize = 128;
const PAGES: usize = 0x11_0000 / PAGE;
const UNIFORM: usize = BITS.len(); // the first pages hold one class each
const MIXED: usize = count_mixed_pages();

/// The page of every 128 code points, and the distinct pages: built while compiling, 64 KiB.
struct Table {
    index: [u16; PAGES],
    pages: [[u8; PAGE]; UNIFORM + MIXED],
}

static TABLE: Table = build();

const fn run_start(run: usize) -> usize {
    if run < RUNS.len() { (RUNS[run] >> 3) as usize } else { 0x11_0000 }
}

/// Pages in which the class changes.
const fn count_mixed_pages() -> usize {
    let (mut mixed, mut run, mut last) = (0, 0, usize::MAX);
    while run < RUNS.len() {
        let start = run_start(run);
        if !start.is_multiple_of(PAGE) && start / PAGE != last {
            last = start / PAGE;
            mixed += 1;
        }
        run += 1;
    }
    mixed
}

const fn build() -> Table {
    let mut table = Table { index: [0; PAGES], pages: [[0; PAGE]; UNIFORM + MIXED] };
    let mut class = 0;
    while class < UNIFORM {
        table.pages[class] = [BITS[class]; PAGE];
        class += 1;
    }
    let (mut page, mut run, mut used) = (0, 0, UNIFORM);
    while page < PAGES {
        let first = page * PAGE;
        while run_start(run + 1) <= first {
            run += 1;
        }
        let class = (RUNS[run] & 7) as usize;
        if run_start(run + 1) >= first + PAGE {
            table.index[page] = class as u16;
        } else {
            let mut offset = 0;
            while offset < PAGE {
                while run_start(run + 1) <= first + offset {
                    run += 1;
                }
                table.pages[used][offset] = BITS[(RUNS[run] & 7) as usize];
                offset += 1;
            }
            table.index[page] = used as u16;
            used += 1;
        }
        page += 1;
    }
    table.pages[table.index[0] as usize][b'\r' as usize] |= LINE_END;
    table.pages[table.index[0] as usize][b'\n' as usize] |= LINE_END;
    table
}

/// What begins with each byte: its kind if it is ASCII, else 0.
static ASCII: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < PAGE {
        kinds[byte] = TABLE.pages[TABLE.index[0] as usize][byte];
        byte += 1;
    }
    kinds
};

/// The kind of a code point below 0x110000.
#[inline(always)]
fn kind_of(code: u32) -> u8 {
    let code = code as usize;
    TABLE.pages[TABLE.index[code / PAGE] as usize][code % PAGE]
}

/// The character at `at`: its kind and its bytes; (0, 0) at the end of the text.
#[inline(always)]
pub(super) fn kind_at(text: &[u8], at: usize) -> (u8, usize) {
    let Some(&byte) = text.get(at) else { return (0, 0) };
    match ASCII[byte as usize] {
        0 => beyond_ascii(&text[at..]),
        kind => (kind, 1),
    }
}

/// The kind and the width of the first character of `text`, which is not ASCII. One byte that is not part of a
/// valid UTF-8 character (the table of the Unicode standard, section 3.9) is one character of kind `OTHER`.
#[inline(never)]
fn beyond_ascii(text: &[u8]) -> (u8, usize) {
    let tail = |byte: u8| u32::from(byte & 0x3f);
    match *text {
        [a @ 0xc2..=0xdf, b @ 0x80..=0xbf, ..] => (kind_of(u32::from(a & 0x1f) << 6 | tail(b)), 2),
        [a @ 0xe0..=0xef, b @ 0x80..=0xbf, c @ 0x80..=0xbf, ..] => {
            let code = u32::from(a & 0x0f) << 12 | tail(b) << 6 | tail(c);
            if code < 0x800 || (0xd800..0xe000).contains(&code) { (OTHER, 1) } else { (kind_of(code), 3) }
        }
        [a @ 0xf0..=0xf4, b @ 0x80..=0xbf, c @ 0x80..=0xbf, d @ 0x80..=0xbf, ..] => {
            let code = u32::from(a & 0x07) << 18 | tail(b) << 12 | tail(c) << 6 | tail(d);
            if !(0x1_0000..0x11_0000).contains(&code) { (OTHER, 1) } else { (kind_of(code), 4) }
        }
        _ => (OTHER, 1),
    }
}

/// Where the run of characters of the kinds in `set` that starts at `at` ends.
#[inline(always)]
pub(super) fn run(text: &[u8], mut at: usize, set: u8) -> usize {
    loop {
        let (kind, width) = kind_at(text, at);
        if kind & set == 0 {
            return at;
        }
        at += width;
    }
}

/// As [`run`], but over at most `most` characters.
pub(super) fn short_run(text: &[u8], mut at: usize, set: u8, most: usize) -> usize {
    for _ in 0..most {
        let (kind, width) = kind_at(text, at);
        if kind & set == 0 {
            break;
        }
        at += width;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_point_has_the_kind_of_its_run() {
        let mut run = 0;
        for code in 0..0x11_0000 {
            while run_start(run + 1) <= code {
                run += 1;
            }
            let kind = kind_of(code as u32) & !LINE_END;
            assert_eq!(kind, BITS[(RUNS[run] & 7) as usize], "U+{code:04X}");
        }
    }

    #[test]
    fn letters_and_white_space_are_those_of_the_standard_library_where_it_can_tell() {
        for character in '\0'..=char::MAX {
            let kind = kind_of(character.into());
            assert_eq!(kind & SPACE != 0, character.is_whitespace(), "{character:?}");
            // Alphabetic is letters, letter-like numbers and some marks and symbols.
            assert!(kind & LETTER == 0 || character.is_alphabetic(), "{character:?}");
        }
    }

    #[test]
    fn a_character_is_valid_exactly_where_the_standard_library_says_so() {
        let interesting = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1];
        let more = [0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff];
        let bytes: Vec<u8> = interesting.into_iter().chain(more).collect();
        for &a in &bytes {
            for &b in &bytes {
                for &c in &bytes {
                    for &d in &bytes {
                        let text = [a, b, c, d];
                        let valid = (1..=4).find(|&width| std::str::from_utf8(&text[..width]).is_ok());
                        assert_eq!(kind_at(&text, 0).1, valid.unwrap_or(1), "{text:x?}");
                    }
                }
            }
        }
    }
}
