"""lm_generate."""
