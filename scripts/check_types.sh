#!/usr/bin/env bash
# The strict type checker over every package's source and over scripts/.
# check_types.sh --platform win32: the packages as Windows would see them; what only POSIX has must stand behind sys.platform.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for package in lm-tokenizer lm-core lm-train lm-generate; do
    uv run mypy "$@" "packages/$package/src"
done
[ $# -gt 0 ] || MYPYPATH=scripts uv run mypy scripts/*.py scripts/benchmarking
