//! The parts of the pipeline around the model, both ways: JSON to what this crate does, and back.
//!
//! Each reader gives `Err` with the reason for a part that would change ids and is not implemented here.
use serde_json::{Value, json};

use crate::formats::error::quoted;
use crate::{Normalization, Pattern};

/// cl100k for Oniguruma, where tiktoken's spelling means something else: `$` ends a line there, `{1,3}+` repeats.
const CL100K: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is cut: by a pattern, or not at all (a character-level tokenizer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Pretokens(Pattern),
    Characters,
}

pub(super) fn read_normalizer(part: Option<&Value>) -> Result<Normalization, String> {
    match part {
        None => Ok(Normalization::None),
        Some(part) if part["type"] == "NFC" => Ok(Normalization::Nfc),
        Some(part) if part["type"] == "Sequence" && part["normalizers"] == json!([]) => Ok(Normalization::None),
        Some(part) => Err(format!("normalizer {} is not supported; only NFC is", type_of(part))),
    }
}

pub(super) fn write_normalizer(normalization: Normalization) -> Value {
    match normalization {
        Normalization::None => Value::Null,
        Normalization::Nfc => json!({"type": "NFC"}),
    }
}

pub(super) fn read_pre_tokenizer(part: Option<&Value>) -> Result<Cut, String> {
    let Some(part) = part else { return Ok(Cut::Characters) };
    let steps = match part["type"].as_str() {
        Some("Sequence") => part["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice),
        _ => std::slice::from_ref(part),
    };
    let pattern = match steps {
        [last] if splits_by_gpt2(last)? => Pattern::Gpt2,
        [first, last] if splits_by_gpt2(last)? => digits(first)?,
        [first, last] if is_byte_level(last) => split(first)?,
        _ => {
            let types: Vec<String> = steps.iter().map(type_of).collect();
            return Err(format!(
                "pre-tokenizer {} is not supported; byte-level ones are: ByteLevel, or Split or Digits before it",
                types.join(" + ")
            ));
        }
    };
    Ok(Cut::Pretokens(pattern))
}

pub(super) fn write_pre_tokenizer(pattern: Pattern) -> Value {
    let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    let sequence = |first: Value, last: Value| json!({"type": "Sequence", "pretokenizers": [first, last]});
    let split = |regex: &str| {
        let first = json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        sequence(first, byte_level(false))
    };
    match pattern {
        Pattern::Gpt2 => byte_level(true),
        Pattern::Gpt2Digits => sequence(json!({"type": "Digits", "individual_digits": true}), byte_level(true)),
        Pattern::Cl100k => split(CL100K),
        Pattern::O200k | Pattern::Llama3 | Pattern::Qwen2 => split(pattern.regex()),
    }
}

/// Post-processors that only add tokens around a text have no part in our ids, nor has one that trims offsets.
pub(super) fn check_post_processor(part: Option<&Value>) -> Result<(), String> {
    let Some(part) = part else { return Ok(()) };
    match part["type"].as_str() {
        Some("ByteLevel" | "TemplateProcessing") => Ok(()),
        Some("Sequence") => {
            let steps = part["processors"].as_array().ok_or("a Sequence has a list of processors")?;
            steps.iter().try_for_each(|step| check_post_processor(Some(step)))
        }
        _ => Err(format!("post-processor {} is not supported; TemplateProcessing and ByteLevel are", type_of(part))),
    }
}

pub(super) fn check_decoder(part: Option<&Value>, cut: Cut) -> Result<(), String> {
    let (wanted, whose) = match cut {
        Cut::Pretokens(_) => ("ByteLevel", "a byte-level"),
        Cut::Characters => ("Fuse", "a character-level"),
    };
    match part {
        Some(part) if part["type"] == wanted => Ok(()),
        Some(part) => {
            Err(format!("decoder {} is not supported: {whose} tokenizer has the decoder {wanted}", type_of(part)))
        }
        None => Err(format!("no decoder: {whose} tokenizer has the decoder {wanted}")),
    }
}

pub(super) fn write_decoder(cut: Cut) -> Value {
    match cut {
        Cut::Pretokens(_) => {
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})
        }
        Cut::Characters => json!({"type": "Fuse"}),
    }
}

/// A ByteLevel part that adds no space before the text.
fn is_byte_level(part: &Value) -> bool {
    part["type"] == "ByteLevel" && part["add_prefix_space"] == false
}

/// Whether a ByteLevel part also splits; an error for one that adds a space before the text.
fn splits_by_gpt2(part: &Value) -> Result<bool, String> {
    if part["type"] == "ByteLevel" && part["add_prefix_space"] != false {
        return Err("pre-tokenizer ByteLevel with add_prefix_space is not supported".to_owned());
    }
    Ok(is_byte_level(part) && part["use_regex"].as_bool().unwrap_or(true))
}

fn digits(part: &Value) -> Result<Pattern, String> {
    if part["type"] == "Digits" && part["individual_digits"] == true {
        return Ok(Pattern::Gpt2Digits);
    }
    Err(format!("pre-tokenizer {} before ByteLevel is not supported; individual Digits is", type_of(part)))
}

fn split(part: &Value) -> Result<Pattern, String> {
    let Some(regex) = part["pattern"]["Regex"].as_str().filter(|_| part["type"] == "Split") else {
        return Err(format!("pre-tokenizer {} before ByteLevel is not supported; Split by Regex is", type_of(part)));
    };
    // Every pattern covers all of a text, so keeping the matches and removing what lies between is the same.
    let every_piece = (part["behavior"] == "Isolated" && part["invert"] != true)
        || (part["behavior"] == "Removed" && part["invert"] == true);
    if !every_piece {
        return Err(format!("pre-tokenizer Split with behavior {} is not supported; Isolated is", part["behavior"]));
    }
    let known = [
        (CL100K, Pattern::Cl100k),
        (Pattern::Llama3.regex(), Pattern::Llama3),
        (Pattern::Qwen2.regex(), Pattern::Qwen2),
        (Pattern::O200k.regex(), Pattern::O200k),
        (Pattern::Gpt2.regex(), Pattern::Gpt2),
    ];
    let found = known.into_iter().find(|(published, _)| *published == regex);
    found.map(|(_, pattern)| pattern).ok_or_else(|| {
        format!(
            "pre-tokenizer Split by {} is not supported; the known patterns are {}",
            quoted(regex),
            Pattern::names()
        )
    })
}

fn type_of(part: &Value) -> String {
    part["type"].as_str().map_or_else(|| quoted(&part.to_string()), str::to_owned)
}
