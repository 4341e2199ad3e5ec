import json
from pathlib import Path

import torch
from lm_core import ModelConfig, load_model, read_config, save_model
from lm_core.manifest import read_manifest

GOLDEN = Path(__file__).parent / "golden"


def test_a_folder_of_version_1_still_gives_its_logits():
    expected = json.loads((GOLDEN / "model-v1.json").read_text())
    logits = load_model(GOLDEN / "model-v1")(torch.tensor(expected["ids"]))
    torch.testing.assert_close(logits, torch.tensor(expected["logits"]), atol=1e-5, rtol=1e-5)


def test_its_config_and_manifest_are_read_as_they_were_written():
    assert read_config(GOLDEN / "model-v1") == ModelConfig(
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
    manifest = read_manifest(GOLDEN / "model-v1")
    assert (manifest.kind, manifest.format_version, manifest.facts) == ("model", 1, {"step": 7})


def test_saving_it_again_writes_the_same_settings(tmp_path):
    model = load_model(GOLDEN / "model-v1")
    save_model(model, tmp_path / "again", facts={"step": 7}, bos_token_id=0, eos_token_id=0)
    for name in ("config.json", "generation_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (GOLDEN / "model-v1" / name).read_bytes()
