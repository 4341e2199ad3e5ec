"""Makes model-v1/ and model-v1.json beside this file: the model folder of format version 1, frozen.

python tests/golden/make_model_v1.py         # refuses to overwrite: a released version's golden files never change
"""

import json
from pathlib import Path

import torch
from lm_core import ModelConfig, Transformer, save_model

HERE = Path(__file__).parent
IDS = [[3, 1, 4, 1, 5, 9, 2, 6]]


def main() -> None:
    config = ModelConfig(
        vocab_size=16,
        context=8,
        d_model=8,
        n_layers=1,
        n_heads=2,
        n_kv_heads=1,
        d_ff=16,
        qk_norm=True,
        init="gpt2",
    )
    model = Transformer(config, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20 if parameter.dim() == 2 else 1.5)
    save_model(model, HERE / "model-v1", facts={"step": 7}, bos_token_id=0, eos_token_id=0)
    logits = model(torch.tensor(IDS)).tolist()
    (HERE / "model-v1.json").write_text(json.dumps({"ids": IDS, "logits": logits}) + "\n")


if __name__ == "__main__":
    main()
