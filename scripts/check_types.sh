#!/usr/bin/env bash
# The strict type checker over every package's source and over scripts/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for package in lm-tokenizer lm-core lm-train lm-generate; do
    uv run mypy "packages/$package/src"
done
MYPYPATH=scripts uv run mypy scripts/*.py scripts/benchmarking
