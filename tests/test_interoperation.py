"""What others read of ours: one small run, opened by the libraries that its users have."""

import glob
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from lm_core import load_model
from lm_generate import load
from lm_tokenizer import Tokenizer
from lm_tokenizer.reference import PATTERNS
from lm_train import TokenDataset

# torch warns about torch.jit under newer Pythons when transformers imports it; no concern of ours
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
PROMPT = "one, two,"


@pytest.fixture(scope="module")
def checkpoint(walked):
    return sorted((walked / "runs/counting/checkpoints").iterdir())[-1]


def test_transformers_writes_the_same_text_from_a_checkpoint(checkpoint):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    asked = tokenizer(PROMPT, return_tensors="pt")
    theirs = model.generate(**asked, max_new_tokens=16, do_sample=False)[0, asked.input_ids.shape[1] :]
    ours = load(checkpoint).generate(PROMPT, max_tokens=16, temperature=0)
    assert theirs.tolist()[: len(ours.ids)] == list(ours.ids)
    assert tokenizer.decode(theirs, skip_special_tokens=True).startswith(ours.text)
    assert "three" in ours.text


def test_transformers_trainer_trains_a_checkpoint_further_and_we_read_the_result(
    checkpoint, walked, tmp_path
):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    (dataset,) = (walked / "datasets").iterdir()
    ids = TokenDataset(dataset).read("train", 0, 32 * 64).astype(np.int64).reshape(64, 32)
    rows = [{"input_ids": torch.from_numpy(row), "labels": torch.from_numpy(row)} for row in ids]
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "trainer"), max_steps=8, per_device_train_batch_size=8, learning_rate=1e-4,
        report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, seed=0, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows)
    before = trainer.evaluate(rows[:16])["eval_loss"]
    trainer.train()
    assert trainer.evaluate(rows[:16])["eval_loss"] < before
    model.save_pretrained(tmp_path / "further")
    with torch.no_grad():
        ours = load_model(tmp_path / "further")(rows[0]["input_ids"][None])
        theirs = model.eval()(rows[0]["input_ids"][None]).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_tokenizers_and_tiktoken_give_the_ids_of_a_runs_tokenizer(checkpoint, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    tiktoken = pytest.importorskip("tiktoken")
    from tiktoken.load import load_tiktoken_bpe

    ours = Tokenizer.load(checkpoint)
    text = "one, two, naïve — 三\n\n  ten.\t" * 3
    theirs = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    assert theirs.encode(text).ids == ours.encode(text)
    ours.save_tiktoken(tmp_path / "ranks.tiktoken")
    ranks = load_tiktoken_bpe(str(tmp_path / "ranks.tiktoken"))
    encoding = tiktoken.Encoding(
        "counting", pat_str=PATTERNS[ours.pattern], mergeable_ranks=ranks, special_tokens={}
    )
    assert encoding.encode(text) == ours.encode(text)


def test_a_dataset_is_what_nanogpts_loader_maps(walked):
    (dataset,) = (walked / "datasets").iterdir()
    ours = TokenDataset(dataset)
    data = np.memmap(dataset / "train-00000.bin", dtype=np.uint16, mode="r")  # as its get_batch does
    assert len(data) == ours.tokens("train")
    starts = torch.randint(len(data) - 32, (4,), generator=torch.Generator().manual_seed(0))
    x = torch.stack([torch.from_numpy(data[i : i + 32].astype(np.int64)) for i in starts.tolist()])
    assert all(ours.read("train", i, 32).tolist() == row.tolist() for i, row in zip(starts, x, strict=True))
    assert int(data.max()) < ours.vocab_size


def test_torch_export_gives_a_program_with_the_same_logits(checkpoint):
    model = load_model(checkpoint)
    ids = torch.arange(24).reshape(2, 12)
    program = torch.export.export(model, (ids,))
    torch.testing.assert_close(program.module()(ids), model(ids), rtol=1e-5, atol=1e-5)


def test_wandb_keeps_every_row_of_an_offline_run(tmp_path):
    pytest.importorskip("wandb")
    code = (
        "from pathlib import Path\nfrom lm_train.view.trackers import Wandb\n"
        "run = Wandb(Path('.'), 'r', {'seed': 7})\n"
        "run.log({'step': 1, 'loss': 2.5, 'grad_norm': None})\nrun.log({'step': 2, 'loss': 2.25})\nrun.close()\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"NETRC": str(tmp_path / "netrc"), "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=300)
    (path,) = glob.glob(str(tmp_path / "wandb" / "offline-run-*" / "*.wandb"))
    records = list(wandb_records(path))
    rows = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [(row["_step"], row["loss"]) for row in rows] == [(1, 2.5), (2, 2.25)]
    assert not any("grad_norm" in row for row in rows)
    (started,) = [record.run for record in records if record.HasField("run")]
    assert {update.key: update.value_json for update in started.config.update}["seed"] == "7"


def wandb_records(path):
    """The records of an offline run's file: LevelDB's log format (blocks of 32 KiB, a record in one part or more) of protobuf."""
    from wandb.proto import wandb_internal_pb2

    with open(path, "rb") as file:
        data = file.read()
    place, parts = 7, b""  # behind the file's own header
    while place < len(data):
        if (left := 32_768 - place % 32_768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""
