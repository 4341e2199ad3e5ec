#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lm_bpe_fuzz::load(data));
