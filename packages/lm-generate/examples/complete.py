"""Writes with a model in a few lines: python examples/complete.py [FOLDER] [PROMPT]

FOLDER is a run, a checkpoint or a model folder; without it, the newest run under ./runs.
"""

import sys

from lm_generate import load, newest_run

folder = sys.argv[1] if len(sys.argv) > 1 else newest_run()
prompt = sys.argv[2] if len(sys.argv) > 2 else "def "
engine = load(folder)

print("--- as it is written ---")
stream = engine.stream(prompt, max_tokens=40, seed=1, heal=True, stop=["\n\n"])
print(prompt, end="")
for piece in stream:
    print(piece, end="", flush=True)
print(f"\n({stream.result.finish_reason}, {len(stream.result.ids)} tokens)")

print("--- three samples, one prefill ---")
for row in engine.batch([prompt] * 3, max_tokens=12, seed=1, heal=True):
    print(repr(prompt + row.text))

print("--- how sure it was, and what top-k 5 took out ---")
for token in engine.explain(prompt, max_tokens=6, top_k=5, top=6, seed=1, heal=True).tokens:
    others = ", ".join(
        f"{other.text!r} {other.before:.2f}{' (' + other.removed_by + ')' if other.removed_by else ''}"
        for other in token.alternatives
    )
    print(f"{token.chosen.text!r:12} {token.chosen.before:.2f} of {others}")

print("--- how well it predicts a text ---")
print(f"{engine.score(prompt + 'f(x):').bits_per_byte:.2f} bits per byte")
