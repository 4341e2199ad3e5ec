import json
import logging
import struct
import subprocess
import sys

import pytest
import torch
from lm_core import ModelConfig, Transformer, load_model, read_config, save_model, tensor_files
from lm_core.counts import parameter_count
from lm_core.errors import DamagedFileError, ModelFolderError
from lm_core.init import VOCABULARY
from lm_core.manifest import read_manifest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import VARIANTS, some_ids, tiny_config, tiny_model


@pytest.fixture
def folder(tmp_path):
    save_model(tiny_model(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def foreign(folder):
    """The same folder as somebody else would have written it: no manifest."""
    (folder / "manifest.json").unlink()
    return folder


def edit_config(folder, **changes):
    path = folder / "config.json"
    data = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in data.items() if value is not ...}))


def edit_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_what_is_saved_is_loaded_bit_for_bit(variant, dtype, tmp_path):
    model = tiny_model(variant).to(dtype)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.config == model.config
    assert not loaded.training
    state = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        assert state[name].dtype == dtype
        rows = model.config.vocab_size if name in VOCABULARY else len(tensor)
        assert torch.equal(state[name][:rows], tensor[:rows]), name
        assert not state[name][rows:].any(), name  # padding is not saved
    assert torch.equal(loaded(some_ids(2, 9)), model(some_ids(2, 9)))


@pytest.mark.parametrize("init", ["fan_in", "gpt2"])
def test_the_config_alone_comes_back_whole(init, tmp_path):
    save_model(tiny_model(init=init), tmp_path / "model")
    assert read_config(tmp_path / "model") == tiny_config(init=init)


def test_the_folder_holds_these_files_and_the_manifest_lists_the_others(folder):
    names = {"config.json", "generation_config.json", "model.safetensors"}
    assert {path.name for path in folder.iterdir()} == names | {"manifest.json"}
    manifest = read_manifest(folder)
    assert set(manifest.files) == names
    assert manifest.kind == "model"


def test_files_can_be_put_beside_the_model_and_facts_into_its_manifest(tmp_path):
    def add_files(unfinished):
        (unfinished / "state").mkdir()
        (unfinished / "state" / "step.txt").write_text("7")

    save_model(tiny_model(), tmp_path / "m", kind="checkpoint", facts={"step": 7}, add_files=add_files)
    manifest = read_manifest(tmp_path / "m")
    assert "state/step.txt" in manifest.files
    assert (manifest.kind, manifest.facts) == ("checkpoint", {"step": 7})
    assert load_model(tmp_path / "m").config == tiny_config()


def test_a_failure_on_the_way_leaves_nothing_behind(tmp_path):
    def add_files(unfinished):
        raise RuntimeError("the tokenizer is gone")

    with pytest.raises(RuntimeError, match="tokenizer is gone"):
        save_model(tiny_model(), tmp_path / "m", add_files=add_files)
    assert list(tmp_path.iterdir()) == []


def test_weights_can_be_cast_on_the_way_out_and_on_the_way_in(tmp_path):
    save_model(tiny_model(), tmp_path / "half", dtype=torch.bfloat16)
    assert load_model(tmp_path / "half").embedding.weight.dtype == torch.bfloat16
    widened = load_model(tmp_path / "half", dtype=torch.float32)
    assert torch.equal(widened.head.weight, tiny_model().head.weight.bfloat16().float())
    data = json.loads((tmp_path / "half" / "config.json").read_text())
    assert data["dtype"] == data["torch_dtype"] == "bfloat16"


def test_a_part_may_be_kept_in_another_form_as_soon_as_it_was_read(folder):
    whole, read = load_model(folder), []

    def shrink(model, names):
        for name in names:
            parameter = model.get_parameter(name)
            assert torch.equal(parameter, whole.get_parameter(name))
            parameter.data = parameter.data.bfloat16()
        read.extend(names)

    shrunk = load_model(folder, after_each=shrink)
    assert sorted(read) == sorted(name for name, _ in whole.named_parameters())
    assert {parameter.dtype for parameter in shrunk.parameters()} == {torch.bfloat16}


def test_both_spellings_of_the_rotation_and_the_token_ids_are_written(tmp_path):
    save_model(tiny_model(rope_theta=500.0), tmp_path / "m", bos_token_id=1, eos_token_id=0)
    data = json.loads((tmp_path / "m" / "config.json").read_text())
    assert data["rope_theta"] == data["rope_parameters"]["rope_theta"] == 500.0
    generation = json.loads((tmp_path / "m" / "generation_config.json").read_text())
    for written in (data, generation):
        assert (written["bos_token_id"], written["eos_token_id"]) == (1, 0)
    with safe_open(tmp_path / "m" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_token_id_outside_the_vocabulary_is_not_written(tmp_path):
    with pytest.raises(ModelFolderError, match=r"eos_token_id 61 is outside the vocabulary \(0\.\.60\)"):
        save_model(tiny_model(), tmp_path / "m", eos_token_id=61)


def test_the_weights_may_be_read_by_whoever_may_read_the_other_files(folder):
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1


def test_an_existing_folder_is_not_overwritten(folder):
    with pytest.raises(FileExistsError, match="exists already"):
        save_model(tiny_model(), folder)


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "model.safetensors", "manifest.json"]
)
def test_a_flipped_byte_in_any_file_is_named_before_use(folder, name):
    path = folder / name
    content = path.read_bytes()
    for position in {0, 1, len(content) // 3, len(content) // 2, len(content) - 1}:
        damaged = bytearray(content)
        damaged[position] ^= 0x01
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match=name):
            load_model(folder)


def test_a_shortened_file_is_named_even_without_hashes(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=r"model\.safetensors"):
        load_model(folder, verify=False)


def test_a_folder_without_a_manifest_loads_with_a_note(foreign, caplog):
    with caplog.at_level(logging.INFO):
        assert load_model(foreign).config == tiny_config()
    assert "has no manifest.json" in caplog.text


def test_a_dataset_is_not_a_model(tmp_path):
    save_model(tiny_model(), tmp_path / "m", kind="dataset")
    with pytest.raises(ModelFolderError, match="is a dataset, not a model"):
        load_model(tmp_path / "m")


def test_all_tensors_that_do_not_fit_are_listed_in_one_error(foreign):
    def change(tensors):
        del tensors["model.norm.weight"]
        tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 5)
        tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(48, 32, dtype=torch.int32)
        tensors["model.layers.2.mlp.up_proj.weight"] = torch.zeros(48, 32)

    edit_tensors(foreign, change)
    with pytest.raises(ModelFolderError) as caught:
        load_model(foreign)
    text = str(caught.value)
    assert "model.norm.weight is missing, of shape (32,)" in text
    assert "model.layers.0.mlp.up_proj.weight must have the shape (48, 32), got (3, 5)" in text
    assert "model.layers.1.mlp.up_proj.weight must be one of F64, F32, F16, BF16, got I32" in text
    assert "model.layers.2.mlp.up_proj.weight belongs to no part of this model" in text
    assert len(text.splitlines()) == 5


def test_tensors_of_mixed_dtypes_get_the_widest(foreign):
    edit_tensors(foreign, lambda t: t.update({"lm_head.weight": t["lm_head.weight"].bfloat16()}))
    assert load_model(foreign).head.weight.dtype == torch.float32


def test_a_tied_file_may_repeat_the_table_but_not_change_it(tmp_path):
    save_model(tiny_model(tie_embeddings=True), tmp_path / "m")
    (tmp_path / "m" / "manifest.json").unlink()
    edit_tensors(
        tmp_path / "m", lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()})
    )
    assert load_model(tmp_path / "m").head is None
    edit_tensors(tmp_path / "m", lambda t: t["lm_head.weight"].add_(1))
    with pytest.raises(ModelFolderError, match='set "tie_word_embeddings" to false'):
        load_model(tmp_path / "m")


def shard(folder, changes=None):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in files.items():
        save_file({name: tensors[name] for name in held}, folder / file, metadata={"format": "pt"})
    weight_map = {name: file for file, held in files.items() for name in held} | (changes or {})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").unlink()


def test_shards_are_one_model(foreign):
    expected = load_model(foreign)(some_ids(1, 9))
    shard(foreign)
    assert torch.equal(load_model(foreign)(some_ids(1, 9)), expected)


@pytest.mark.parametrize(
    "file",
    ["../other.safetensors", "/etc/model.safetensors", "a/b.safetensors", "x.bin", "..\\x.safetensors"],
)
def test_an_index_cannot_name_files_elsewhere(foreign, file):
    shard(foreign, {"model.norm.weight": file})
    with pytest.raises(ModelFolderError, match=r"only \.safetensors files in the same folder are read"):
        load_model(foreign)


def test_a_missing_shard_is_named(foreign):
    shard(foreign)
    (foreign / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"files that are missing: model-00002-of-00002\.safetensors"):
        load_model(foreign)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_a_pickle_is_refused_with_the_command_that_converts_it(foreign, name):
    (foreign / "model.safetensors").rename(foreign / name)
    with pytest.raises(ModelFolderError, match=f"{name}.*which can run any code.*save_pretrained"):
        load_model(foreign)


def test_a_folder_without_weights_says_what_was_looked_for(foreign):
    (foreign / "model.safetensors").unlink()
    with pytest.raises(
        ModelFolderError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json"
    ):
        load_model(foreign)


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 40, struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 2) + b"{}"]
)
def test_a_file_that_is_no_safetensors_file_is_named(foreign, content):
    (foreign / "model.safetensors").write_bytes(content)
    with pytest.raises((DamagedFileError, ModelFolderError), match=r"model\.safetensors|weights in"):
        load_model(foreign)


def test_a_small_file_cannot_make_a_large_model(foreign):
    edit_config(foreign, hidden_size=2**17, intermediate_size=2**20, num_hidden_layers=900, head_dim=2**10)
    with pytest.raises(ModelFolderError, match=r"do not fit|parameters; at most"):
        load_model(foreign)


def test_no_such_folder_and_a_file_instead_of_one(folder):
    with pytest.raises(ModelFolderError, match="there is no folder"):
        load_model(folder / "nowhere")
    with pytest.raises(ModelFolderError, match=r"is a file; give the folder that holds config\.json"):
        load_model(folder / "model.safetensors")


@pytest.mark.parametrize("variant", ["llama", "gpt2", "padded"])
def test_shards_are_written_with_their_index_and_read_back_bit_for_bit(variant, tmp_path):
    model = tiny_model(variant)
    save_model(model, tmp_path / "m", max_shard_bytes=20_000)
    index = json.loads((tmp_path / "m" / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in (tmp_path / "m").glob("*.safetensors"))
    assert len(files) > 2
    assert files == [f"model-{n:05}-of-{len(files):05}.safetensors" for n in range(1, len(files) + 1)]
    held = {}
    for file in files:
        tensors = load_file(tmp_path / "m" / file)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        assert size <= 20_000 or len(tensors) == 1
        held |= dict.fromkeys(tensors, file)
        assert file in read_manifest(tmp_path / "m").files
    assert index["weight_map"] == held
    assert index["metadata"]["total_size"] == sum(
        p[: 61 if name in VOCABULARY else None].numel() * 4 for name, p in model.named_parameters()
    )
    assert torch.equal(load_model(tmp_path / "m")(some_ids(2, 9)), model(some_ids(2, 9)))


def test_weights_that_fit_into_one_file_are_one_file(tmp_path):
    save_model(tiny_model(), tmp_path / "m", max_shard_bytes=10**9)
    assert [path.name for path in (tmp_path / "m").glob("*.safetensors*")] == ["model.safetensors"]
    with pytest.raises(ModelFolderError, match="max_shard_bytes must be at least 1, got 0"):
        save_model(tiny_model(), tmp_path / "n", max_shard_bytes=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_are_read_in_pieces_when_they_are_converted(dtype, folder, monkeypatch):
    monkeypatch.setattr(tensor_files, "READ_AT_ONCE", 100)
    state = load_model(folder, dtype=dtype).state_dict()
    for name, tensor in tiny_model().state_dict().items():
        assert torch.equal(state[name], tensor.to(dtype)), name


PEAK = """
import sys
from pathlib import Path
from lm_core import load_model
def peak():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
load_model(sys.argv[1])  # whatever the first call brings in
before = peak()
load_model(sys.argv[2])
print(1024 * (peak() - before))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
def test_loading_takes_little_more_memory_than_the_weights(folder, tmp_path):
    large = ModelConfig(vocab_size=8192, d_model=512, n_layers=5, n_heads=8, d_ff=4096)
    save_model(Transformer(large), tmp_path / "large")
    weights = 4 * parameter_count(large)  # 180 MB
    command = [sys.executable, "-c", PEAK, str(folder), str(tmp_path / "large")]
    taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 0.9 * weights < taken <= 1.1 * weights
