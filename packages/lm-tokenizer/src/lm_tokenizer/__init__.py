"""lm_tokenizer."""
