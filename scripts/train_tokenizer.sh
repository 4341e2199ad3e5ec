#!/usr/bin/env bash
# 1 of 3: text -> tokenizer + token dataset. Runs executed or sourced; any argument goes on to the command.
( cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && exec uv run --package lm-train lm-train prepare "${@:-stdlib}" )
