//! Ids to text: any split of any character, whole characters only.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use lm_bpe::{DecodeStream, Model, Pattern, Vocabulary};

/// Ids are bytes; 300 is a token of two characters and a half.
fn bytes() -> Arc<Vocabulary> {
    let mut tokens: Vec<(u32, Vec<u8>)> = (0..=255).map(|byte| (u32::from(byte), vec![byte])).collect();
    tokens.push((300, "né\u{1f600}".as_bytes()[..5].to_vec()));
    Arc::new(Vocabulary::new(Model::bpe(Pattern::Gpt2), tokens, vec![], vec![("<|x|>".into(), 301)]).unwrap())
}

#[test]
fn every_character_comes_out_whole_with_its_last_byte() {
    let mut stream = DecodeStream::new(bytes());
    for character in '\0'..=char::MAX {
        let mut buffer = [0; 4];
        let (last, first) = character.encode_utf8(&mut buffer).as_bytes().split_last().unwrap();
        for &byte in first {
            assert_eq!(stream.push(byte.into()).unwrap(), "", "{character:?} came too early");
        }
        assert_eq!(stream.push((*last).into()).unwrap(), character.to_string());
    }
    assert_eq!(stream.finish(), "");
}

#[test]
fn a_stream_gives_in_all_what_decoding_at_once_gives() {
    let interesting = [b'a', 0x80, 0xbf, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xed, 0xa0, 0xf0, 0x9f, 0x98, 0xf4, 0x90, 0xff];
    let vocabulary = bytes();
    for number in 0..interesting.len().pow(5) {
        let ids: Vec<u32> = (0..5).map(|place| interesting[number >> (4 * place) & 15]).map(u32::from).collect();
        let mut stream = DecodeStream::new(Arc::clone(&vocabulary));
        let mut text: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        text.push_str(&stream.finish());
        assert_eq!(text, String::from_utf8_lossy(&vocabulary.decode(&ids).unwrap()), "{ids:x?}");
    }
}

#[test]
fn a_token_may_end_in_the_middle_of_a_character() {
    let mut stream = DecodeStream::new(bytes());
    assert_eq!(stream.push(300).unwrap(), "né");
    assert_eq!(stream.push(0x98).unwrap(), "");
    assert_eq!(stream.push(0x80).unwrap(), "\u{1f600}");
    assert_eq!(stream.push(301).unwrap(), "<|x|>");
    assert_eq!(stream.push(0xf0).unwrap(), "");
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn an_id_that_is_no_token_is_named_with_its_position() {
    let vocabulary = bytes();
    let error = vocabulary.decode(&[1, 2, 302]).unwrap_err();
    assert_eq!(error.to_string(), "token id 302 at position 2 is outside the vocabulary (ids are below 302)");
    let mut stream = DecodeStream::new(vocabulary);
    stream.push(0xc3).unwrap();
    assert!(stream.push(u32::MAX).is_err());
    assert_eq!(stream.push(0xa9).unwrap(), "é", "nothing is lost by a wrong id");
}

#[test]
fn short_and_long_tokens_in_any_order_decode_to_their_bytes_in_a_row() {
    let mut tokens: Vec<(u32, Vec<u8>)> = (0..=255u8).map(|byte| (u32::from(byte), vec![byte])).collect();
    tokens.extend((2..60).map(|length| (254 + length, vec![b'a' + (length % 26) as u8; length as usize])));
    let bound = tokens.len();
    let vocabulary = Vocabulary::new(Model::bpe(Pattern::Gpt2), tokens.clone(), vec![], vec![]).unwrap();
    for count in [0, 1, 1023, 1024, 1025, 5000] {
        let ids: Vec<u32> = (0..count).map(|at| ((at * at * 7 + at) % bound) as u32).collect();
        let wanted: Vec<u8> = ids.iter().flat_map(|&id| tokens[id as usize].1.clone()).collect();
        assert_eq!(vocabulary.decode(&ids).unwrap(), wanted);
        let wrong: Vec<u32> = ids.iter().copied().chain([9999]).collect();
        let error = vocabulary.decode(&wrong).unwrap_err().to_string();
        assert!(error.contains(&format!("position {count}")), "{error}");
    }
}

#[test]
fn many_ids_are_decoded_as_one_by_one() {
    let mut tokens: Vec<(u32, Vec<u8>)> = (0..=255).map(|byte| (u32::from(byte), vec![byte])).collect();
    tokens.extend((2..70).map(|length| (300 + length as u32, vec![b'a' + length as u8 % 26; length])));
    let special = vec![("<|x|>".into(), 500), ("<|a special token of more than sixteen bytes|>".into(), 501)];
    let vocabulary = Vocabulary::new(Model::bpe(Pattern::Gpt2), tokens, vec![], special).unwrap();
    let known: Vec<u32> = vocabulary.tokens().map(|(id, _)| id).collect();
    let mut state = 3u64;
    for length in [0, 1, 63, 64, 65, 1023, 1024, 1025, 5000] {
        let mut ids: Vec<u32> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                known[(state >> 33) as usize % known.len()]
            })
            .collect();
        let wanted: Vec<u8> = ids.iter().flat_map(|&id| vocabulary.bytes(id).unwrap()).copied().collect();
        assert_eq!(vocabulary.decode(&ids).unwrap(), wanted);
        if let Some(last) = ids.last_mut() {
            *last = 299; // between the tokens
            let error = vocabulary.decode(&ids).unwrap_err().to_string();
            assert!(error.starts_with(&format!("token id 299 at position {} is outside", length - 1)), "{error}");
        }
    }
}
