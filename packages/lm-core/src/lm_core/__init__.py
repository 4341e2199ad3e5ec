"""lm_core."""
