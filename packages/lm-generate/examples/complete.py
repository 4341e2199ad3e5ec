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

print("--- how sure it was ---")
sure = engine.generate(prompt, max_tokens=6, temperature=0, heal=True, logprobs=2)
for token in sure.logprobs:
    top = ", ".join(
        f"{engine.tokenizer.decode([id])!r} {2.718281828**logprob:.2f}" for id, logprob in token.top
    )
    print(f"{engine.tokenizer.decode([token.id])!r:12} of {top}")

print("--- how well it predicts a text ---")
print(f"{engine.score(prompt + 'f(x):').bits_per_byte:.2f} bits per byte")
