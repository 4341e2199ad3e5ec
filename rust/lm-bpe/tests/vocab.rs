//! A vocabulary that is not one is refused, and the message names the entry.
#![allow(clippy::unwrap_used)]

use lm_bpe::{MAX_ID, Merge, Model, Pattern, Vocabulary};

type Tokens = Vec<(u32, Vec<u8>)>;

fn bytes() -> Tokens {
    (0..=255).map(|byte| (u32::from(byte), vec![byte])).collect()
}

fn with(extra: &[(u32, &str)]) -> Tokens {
    bytes().into_iter().chain(extra.iter().map(|&(id, text)| (id, text.as_bytes().to_vec()))).collect()
}

fn merge(left: u32, right: u32, merged: u32) -> Merge {
    Merge { left, right, merged }
}

fn refusal(tokens: Tokens, merges: &[Merge], special: &[(&str, u32)]) -> String {
    let special = special.iter().map(|&(text, id)| (text.to_string(), id)).collect();
    Vocabulary::new(Model::bpe(Pattern::Gpt2), tokens, merges.to_vec(), special).unwrap_err().to_string()
}

#[test]
fn tokens_must_be_unique_and_complete() {
    let none = &[];
    assert_eq!(refusal(with(&[(7, "ab")]), none, &[]), "token id 7 is given to two tokens; ids must be unique");
    let text = "token \"ab\" has two ids, 300 and 301; tokens must be unique";
    assert_eq!(refusal(with(&[(300, "ab"), (301, "ab")]), none, &[]), text);
    let text = "token id 300 stands for no bytes; a token needs at least one";
    assert_eq!(refusal(with(&[(300, "")]), none, &[]), text);
    let text = "token id 4194304 is too large; ids must be below 4194304";
    assert_eq!(refusal(with(&[(MAX_ID + 1, "ab")]), none, &[]), text);
    let mut missing = bytes();
    missing.remove(0x1f);
    let text = "byte 0x1f has no token; a byte-level vocabulary needs all 256 bytes so that any text can be encoded";
    assert_eq!(refusal(missing, none, &[]), text);
}

#[test]
fn merges_must_join_two_tokens_into_a_third() {
    let tokens = || with(&[(256, "ab"), (257, "abc")]);
    let text = "merge 0 names id 999, which is no token of the vocabulary";
    assert_eq!(refusal(tokens(), &[merge(97, 999, 256)], &[]), text);
    let text = "merge 1 joins \"a\" and \"b\" into \"abc\", which is not the two in a row";
    assert_eq!(refusal(tokens(), &[merge(256, 99, 257), merge(97, 98, 257)], &[]), text);
    let text = "merge 1 (\"a\" and \"b\") is listed twice";
    assert_eq!(refusal(tokens(), &[merge(97, 98, 256), merge(97, 98, 256)], &[]), text);
}

#[test]
fn special_tokens_must_be_their_own() {
    let tokens = || with(&[(256, "ab")]);
    let text = "special token 300 has no text; it needs at least one character";
    assert_eq!(refusal(tokens(), &[], &[("", 300)]), text);
    let text = "special token \"<x>\" is listed twice";
    assert_eq!(refusal(tokens(), &[], &[("<x>", 300), ("<x>", 301)]), text);
    for special in [("ab", 300), ("<x>", 256)] {
        let text = refusal(tokens(), &[], &[special]);
        assert!(text.ends_with("is also an ordinary token; its id and its text must be its own"), "{text}");
    }
    let text = refusal(tokens(), &[], &[("<x>", 300), ("<y>", 300)]);
    assert!(text.starts_with("special token \"<y>\" (id 300)"), "{text}");
}

#[test]
fn a_character_level_vocabulary_holds_single_characters() {
    let refusal = |tokens: &[(u32, &[u8])], merges: &[Merge]| {
        let tokens = tokens.iter().map(|&(id, bytes)| (id, bytes.to_vec())).collect();
        Vocabulary::new(Model::Characters, tokens, merges.to_vec(), vec![]).unwrap_err().to_string()
    };
    let text = "token id 1 of a character-level vocabulary is \"ab\"; each must be exactly one character";
    assert_eq!(refusal(&[(0, "é".as_bytes()), (1, b"ab")], &[]), text);
    let text = "token id 0 of a character-level vocabulary is \"\\xff\"; each must be exactly one character";
    assert_eq!(refusal(&[(0, b"\xff")], &[]), text);
    let text = "a character-level vocabulary has no merges, but 1 were given";
    assert_eq!(refusal(&[(0, b"a")], &[merge(0, 0, 1)]), text);
}

#[test]
fn a_vocabulary_answers_for_its_ids_and_bytes() {
    let special = vec![("<x>".to_string(), 500)];
    let merges = vec![merge(97, 98, 256)];
    let vocabulary = Vocabulary::new(Model::bpe(Pattern::Llama3), with(&[(256, "ab")]), merges, special).unwrap();
    assert_eq!((vocabulary.len(), vocabulary.id_bound()), (258, 501));
    assert_eq!(vocabulary.bytes(256), Some(&b"ab"[..]));
    assert_eq!(vocabulary.bytes(500), Some(&b"<x>"[..]));
    assert_eq!((vocabulary.bytes(257), vocabulary.bytes(u32::MAX)), (None, None));
    assert_eq!((vocabulary.id_of(b"ab"), vocabulary.id_of(b"<x>")), (Some(256), None));
    assert_eq!((vocabulary.is_special(500), vocabulary.is_special(256)), (true, false));
    assert_eq!(vocabulary.tokens().count(), 258);
    assert_eq!(vocabulary.pattern(), Some(Pattern::Llama3));
}
