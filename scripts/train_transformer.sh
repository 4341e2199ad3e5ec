#!/usr/bin/env bash
# 2 of 3: token dataset -> model, in about a minute on two cores. Runs executed or sourced.
( cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && exec uv run --package lm-train train "$@" )
