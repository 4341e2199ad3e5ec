"""Load a model folder, whoever wrote it, and ask what comes next.

    python examples/load_and_predict.py FOLDER 464 3139 286     # a Llama, Mistral, Qwen2, Qwen3 or GPT-2 folder, and ids
    python examples/load_and_predict.py                         # without one: a small folder is made first

lm-core knows ids, not text: any tokenizer that fits the folder turns one into the other (lm-tokenizer reads its
tokenizer.json). Shown are the likeliest next ids with their probabilities, and how the prediction forms from layer to layer.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from lm_core import ModelConfig, Transformer, load_model, save_model, softmax
from lm_core.counts import parameter_count
from lm_core.inspection import logit_lens
from lm_core.optim import AdamW

SENTENCE = b"What I cannot create, I do not understand."


def make_folder(folder: Path) -> None:
    """A model that has learnt one sentence, with bytes as ids, in the layout of a Qwen3 folder."""
    model = Transformer(
        ModelConfig(vocab_size=256, context=64, d_model=64, n_layers=2, n_heads=4, qk_norm=True)
    )
    optimizer, ids = AdamW(model.parameters(), lr=3e-3), torch.tensor([list(SENTENCE)])
    for _ in range(80):
        model.loss(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(model, folder)


def show(folder: Path, ids: list[int]) -> None:
    model = load_model(folder)
    print(
        f"{model.config.family}, {parameter_count(model.config):,} parameters, vocabulary {model.config.vocab_size:,}"
    )
    with torch.no_grad():
        probabilities = softmax(model(torch.tensor([ids]))[0, -1], dim=-1)
        likeliest = probabilities.topk(5)
        for probability, token in zip(likeliest.values, likeliest.indices, strict=True):
            print(f"  id {int(token):6}  probability {float(probability):.4f}")
        answer = int(likeliest.indices[0])
        for depth, logits in enumerate(logit_lens(model, torch.tensor([ids]))[:, 0, -1]):
            print(
                f"  after {depth} blocks id {answer} has probability {float(softmax(logits, dim=-1)[answer]):.4f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("ids", type=int, nargs="*")
    options = parser.parse_args()
    if options.folder is not None:
        show(options.folder, options.ids or [0])
        return
    with tempfile.TemporaryDirectory() as parent:
        make_folder(Path(parent) / "model")
        show(Path(parent) / "model", list(SENTENCE[:20]))


if __name__ == "__main__":
    main()
