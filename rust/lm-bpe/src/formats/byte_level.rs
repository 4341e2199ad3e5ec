//! GPT-2's way to spell bytes as printable characters, which `tokenizer.json` and `vocab.json` use for tokens.
//!
//! Bytes that print as themselves in Latin-1 stay; the other 68 take the characters from U+0100 on, in order.

/// One past the last character of the alphabet: U+0144 = 256 + 68.
const END: usize = 0x144;

const fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF)
}

const CHAR_OF_BYTE: [char; 256] = {
    let mut table = ['\0'; 256];
    let (mut byte, mut next) = (0usize, 0x100u32);
    while byte < 256 {
        let code = if is_printable(byte as u8) {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        table[byte] = char::from_u32(code).expect("every code below U+0144 is a character");
        byte += 1;
    }
    table
};

const BYTE_OF_CHAR: [Option<u8>; END] = {
    let mut table = [None; END];
    let mut byte = 0;
    while byte < 256 {
        table[CHAR_OF_BYTE[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    table
};

/// The character that stands for a byte.
pub fn to_char(byte: u8) -> char {
    CHAR_OF_BYTE[byte as usize]
}

/// The spelling of a token. O(bytes).
pub fn to_text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| to_char(byte)).collect()
}

/// The bytes that `text` spells, or the first character that is not of the alphabet. O(text).
pub fn to_bytes(text: &str) -> Result<Vec<u8>, char> {
    text.chars().map(|c| BYTE_OF_CHAR.get(c as usize).copied().flatten().ok_or(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character_and_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let text = to_text(&all);
        assert_eq!(text.chars().count(), 256);
        assert_eq!(to_bytes(&text), Ok(all));
    }

    #[test]
    fn the_alphabet_is_the_published_one() {
        assert_eq!(to_text(b" \n\tA\x00\xad\xff"), "ĠĊĉAĀŃÿ");
        assert_eq!(to_bytes("a b"), Err(' '));
        assert_eq!(to_bytes("日"), Err('日'));
    }
}
