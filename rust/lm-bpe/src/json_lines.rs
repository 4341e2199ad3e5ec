//! JSON lines: each line a JSON object, one field of which is a document's text.
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

/// Reads a stream in windows of whole lines. Memory: one window, longer only for a longer line.
pub(crate) struct Lines<R> {
    source: R,
    size: usize,
    /// What was read behind the last line end.
    rest: Vec<u8>,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(source: R, size: usize) -> Self {
        Self { source, size, rest: Vec::new() }
    }

    /// Replaces the contents of `window` by the next lines of the stream; `false` at its end.
    pub(crate) fn next(&mut self, window: &mut Vec<u8>) -> io::Result<bool> {
        std::mem::swap(window, &mut self.rest);
        self.rest.clear();
        let mut searched = 0; // what is known to hold no line end
        loop {
            let wanted = self.size.max(window.len()); // at least as much again as a line so far has
            let read = self.source.by_ref().take(wanted as u64).read_to_end(window)?;
            if read < wanted {
                return Ok(!window.is_empty());
            }
            if let Some(end) = window[searched..].iter().rposition(|&byte| byte == b'\n') {
                let end = searched + end + 1;
                self.rest.extend_from_slice(&window[end..]);
                window.truncate(end);
                return Ok(true);
            }
            searched = window.len();
        }
    }
}

/// The text in a line's field, or what is wrong with the line. Of a field that comes twice the last one counts.
///
/// A byte order mark before the object, and `NaN` and `Infinity` in the place of numbers, are no JSON, but programs that
/// people use write them (Python's `json` among them): they are read, too.
pub(crate) fn document<'a>(line: &'a [u8], field: &str) -> Result<Cow<'a, str>, String> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let line = std::str::from_utf8(line)
        .map_err(|error| format!("it is no UTF-8 text (at column {})", error.valid_up_to() + 1))?;
    let found = parsed(line, field).or_else(|error| {
        let again = with_numbers(line).and_then(|line| parsed(&line, field).map(owned).ok());
        again.ok_or(error)
    });
    match found {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(format!("the object has no field {field:?}")),
        Err(_) if line.trim_start().starts_with('[') => Err("a JSON array, where each line must be one JSON object; \
            `jq -c '.[]'` writes the entries of an array so"
            .to_owned()),
        Err(error) if error.is_eof() => {
            Err(format!("it ends amid JSON (at column {}); each line must be one whole JSON object", error.column()))
        }
        Err(error) => {
            // serde_json says "at line 1 column 7" of the one line that it was given
            let (message, column) = (error.to_string(), error.column());
            let message = message.split(" at line ").next().unwrap_or(&message);
            Err(format!("{message} (at column {column})"))
        }
    }
}

/// The text in the field of a line that is JSON.
fn parsed<'a>(line: &'a str, field: &str) -> Result<Option<Cow<'a, str>>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(line);
    Object(field).deserialize(&mut json).and_then(|found| json.end().map(|()| found))
}

fn owned<'a>(found: Option<Cow<'_, str>>) -> Option<Cow<'a, str>> {
    found.map(|text| Cow::Owned(text.into_owned()))
}

/// The line with a number for each `NaN` and `Infinity` that is a value; `None` where there is none.
fn with_numbers(line: &str) -> Option<String> {
    let mut numbered = line.as_bytes().to_vec();
    let (mut changed, mut in_string, mut at) = (false, false, 0);
    while let Some(&byte) = numbered.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'N' | b'I' if !in_string && !numbered[..at].last().is_some_and(u8::is_ascii_alphanumeric) => {
                for name in [&b"NaN"[..], b"Infinity"] {
                    if numbered[at..].starts_with(name) {
                        numbered[at..at + name.len()].fill(b' ');
                        numbered[at] = b'0';
                        changed = true;
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    changed.then(|| String::from_utf8(numbered).expect("only ASCII was replaced, by ASCII"))
}

/// An object of which one field is wanted.
struct Object<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "a JSON object with a string {:?}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key_seed(Text)? {
            if name == self.0 {
                found = Some(map.next_value_seed(Text)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// A string, borrowed where it has no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_of_lines_join_to_the_stream_and_end_with_a_line() {
        let text = b"a\n\nbcd\nefghijklmnopqrstuvwxyz\n\n\nend".repeat(9);
        for size in 1..80 {
            let (mut lines, mut window, mut joined) = (Lines::new(&text[..], size), Vec::new(), Vec::new());
            while lines.next(&mut window).unwrap() {
                joined.extend_from_slice(&window);
                assert!(window.ends_with(b"\n") || joined.len() == text.len(), "{size}");
            }
            assert_eq!(joined, text, "{size}");
        }
    }

    #[test]
    fn the_field_is_found_among_others_and_unescaped() {
        let line =
            br#" {"id": [1, {"text": "no"}], "text": "first", "te\u0078t": "a\u00e9\ud83d\ude00\n\"b", "z": null} "#;
        assert_eq!(document(line, "text").unwrap(), "aé😀\n\"b");
        assert!(matches!(document(br#"{"text":"as it is"}"#, "text").unwrap(), Cow::Borrowed("as it is")));
    }

    #[test]
    fn what_is_nearly_json_is_read_as_python_reads_it() {
        for line in [
            "\u{feff}{\"text\": \"NaN\"}",
            r#"{"a": NaN, "text": "NaN", "b": [Infinity,-Infinity]}"#,
            r#"{"say \"NaN\\": NaN,"text":"NaN"}"#,
        ] {
            assert_eq!(document(line.as_bytes(), "text").unwrap(), "NaN", "{line}");
        }
        for line in
            [r#"{"a": 1NaN, "text": ""}"#, r#"{"a": NaN5, "text": ""}"#, r#"{"text": NaN}"#, "NaN", r#"{"a": NaN"#]
        {
            document(line.as_bytes(), "text").unwrap_err();
        }
    }

    #[test]
    fn a_line_without_the_text_says_what_is_wrong_and_where() {
        for (line, wanted) in [
            (r#"{"title": "a"}"#, r#"the object has no field "text""#),
            (r#"{"text": 5}"#, "invalid type: integer `5`, expected a string (at column 10)"),
            (
                r#"["text"]"#,
                "a JSON array, where each line must be one JSON object; `jq -c '.[]'` writes the entries of an array so",
            ),
            (r#"{"text": "a""#, "it ends amid JSON (at column 12); each line must be one whole JSON object"),
            (r#"{"a": NaN, "title": "a"}"#, r#"the object has no field "text""#),
            (r#"{"a": NaN, "text": 5}"#, "expected value (at column 7)"),
            (r#"{"text": "a"} {}"#, "trailing characters (at column 15)"),
            (r#"{"text": "\ud800"}"#, "unexpected end of hex escape (at column 17)"),
        ] {
            assert_eq!(document(line.as_bytes(), "text").unwrap_err(), wanted, "{line}");
        }
        assert_eq!(document(b"{\"a\": \"\xff\"}", "a").unwrap_err(), "it is no UTF-8 text (at column 8)");
    }
}
