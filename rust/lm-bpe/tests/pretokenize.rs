//! Each scanner against the regular expression that it stands for.
#![allow(clippy::unwrap_used)]

mod naive;

use lm_bpe::Pattern;
use naive::Random;

/// Characters at which the patterns turn, and a few of every kind.
const TURNS: &[&str] = &[
    "'",
    "'",
    "'",
    "s",
    "S",
    "t",
    "T",
    "re",
    "RE",
    "rE",
    "ve",
    "ll",
    "LL",
    "d",
    "m",
    "ſ",
    "K",
    " ",
    " ",
    " ",
    "\n",
    "\r",
    "\t",
    "\u{a0}",
    "\u{85}",
    "\u{2028}",
    "\u{3000}",
    "/",
    "/",
    "1",
    "23",
    "4567",
    "²",
    "Ⅷ",
    "٣",
    "A",
    "b",
    "é",
    "É",
    "ǅ",
    "ʰ",
    "日本",
    "ß",
    "א",
    "\u{301}",
    "\u{903}",
    "\u{20dd}",
    "!",
    "...",
    "_",
    "—",
    "😀",
    "👩\u{200d}🚀",
    "\0",
    "\u{feff}",
    "\u{10ffff}",
    "\u{378}",
];

fn random_text(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..random.below(24) {
        match random.below(12) {
            0 => {
                let code = random.below(0x11_0000) as u32;
                text.extend(char::from_u32(code).unwrap_or(' ').to_string().bytes());
            }
            1 => text.push(random.below(256) as u8),
            _ => text.extend(random.choose(TURNS).bytes()),
        }
    }
    text
}

#[test]
fn every_pattern_cuts_random_unicode_and_random_bytes_as_its_expression_does() {
    for pattern in Pattern::ALL {
        let regex = naive::regex(pattern);
        let mut random = Random(7);
        for _ in 0..4_000 {
            let text = random_text(&mut random);
            let cut: Vec<&[u8]> = pattern.pretokens(&text).collect();
            let wanted = naive::pretokens(&regex, &text);
            assert_eq!(cut, wanted, "{} cuts {:?}", pattern.name(), String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn every_pattern_cuts_all_short_texts_of_its_turning_points_as_its_expression_does() {
    let letters = ["'", "s", "l", " ", "\n", "1", "A", "日", "\u{301}", "!", "\u{a0}"];
    for pattern in Pattern::ALL {
        let regex = naive::regex(pattern);
        for number in 0..letters.len().pow(4) {
            let text: String = (0..4).map(|place| letters[number / letters.len().pow(place) % letters.len()]).collect();
            let cut: Vec<&[u8]> = pattern.pretokens(text.as_bytes()).collect();
            assert_eq!(cut, naive::pretokens(&regex, text.as_bytes()), "{} cuts {text:?}", pattern.name());
        }
    }
}

#[test]
fn every_character_is_of_the_kind_that_the_expression_takes_it_for() {
    // Between them these two tell all kinds apart: letters by case, marks, numbers, white space and the rest.
    let patterns = [Pattern::Gpt2, Pattern::O200k];
    let regexes = patterns.map(naive::regex);
    for block in (0..0x11_0000).step_by(64) {
        let characters = (block..block + 64).filter_map(char::from_u32);
        let text: String = characters.flat_map(|character| ['A', character, 'b', ' ', character, '!', '\n']).collect();
        for (pattern, regex) in patterns.into_iter().zip(&regexes) {
            let cut: Vec<&[u8]> = pattern.pretokens(text.as_bytes()).collect();
            assert_eq!(cut, naive::pretokens(regex, text.as_bytes()), "{} at U+{block:04X}", pattern.name());
        }
    }
}

#[test]
fn a_text_cut_at_a_safe_place_has_the_pretokens_of_the_whole() {
    let mut cuts = 0;
    for pattern in Pattern::ALL {
        let mut random = Random(11);
        for _ in 0..3_000 {
            let text = random_text(&mut random);
            let whole: Vec<&[u8]> = pattern.pretokens(&text).collect();
            let from = random.below(text.len() + 1);
            for cut in [pattern.next_cut(&text, from), pattern.previous_cut(&text, from)].into_iter().flatten() {
                assert!(cut > 0 && cut < text.len());
                let (left, right) = text.split_at(cut);
                let parts: Vec<&[u8]> = pattern.pretokens(left).chain(pattern.pretokens(right)).collect();
                assert_eq!(parts, whole, "{} cut at {cut} of {:?}", pattern.name(), String::from_utf8_lossy(&text));
                cuts += 1;
            }
        }
    }
    assert!(cuts > 10_000, "only {cuts} cuts were found");
}

#[test]
fn a_safe_cut_stays_safe_whatever_follows_four_bytes_after_it() {
    let mut random = Random(13);
    for _ in 0..3_000 {
        let (text, more) = (random_text(&mut random), random_text(&mut random));
        let longer = [text.clone(), more].concat();
        for pattern in Pattern::ALL {
            if let Some(cut) = pattern.previous_cut(&text, text.len()) {
                let (left, right) = longer.split_at(cut);
                let parts: Vec<&[u8]> = pattern.pretokens(left).chain(pattern.pretokens(right)).collect();
                assert_eq!(parts, pattern.pretokens(&longer).collect::<Vec<_>>(), "{}", pattern.name());
            }
        }
    }
}

#[test]
fn prose_has_a_safe_cut_at_every_space_between_words() {
    let text = b"The quick brown fox";
    for pattern in Pattern::ALL {
        assert_eq!(pattern.next_cut(text, 0), Some(3));
        assert_eq!(pattern.next_cut(text, 4), Some(9));
        assert_eq!(pattern.previous_cut(text, text.len()), Some(15));
        assert_eq!(pattern.next_cut(b"aaaaaaaaaaaaaaaa", 0), None);
    }
}

#[test]
fn a_pattern_is_found_by_its_name_and_by_its_published_spellings() {
    for pattern in Pattern::ALL {
        assert_eq!(Pattern::from_name(pattern.name()), Ok(pattern));
        assert_eq!(Pattern::from_regex(pattern.regex()), Some(pattern));
    }
    let tiktoken = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s";
    assert_eq!(Pattern::from_regex(tiktoken), Some(Pattern::Gpt2));
    assert_eq!(Pattern::from_regex(r"\w+"), None);
    let error = Pattern::from_name("gpt5").unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown pattern \"gpt5\"; the patterns are gpt2, gpt2-digits, cl100k, o200k, llama3, qwen2"
    );
}
