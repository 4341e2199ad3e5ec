#!/usr/bin/env bash
# 3 of 3: model -> text, from the newest run. Runs executed or sourced.
( cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && exec uv run --package lm-generate lm-generate --prompt "${1:-def }" "${@:2}" )
