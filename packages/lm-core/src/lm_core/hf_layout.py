"""Which tensors a model folder's files hold, under transformers' names, and which of our parameters each one is."""

import re
from dataclasses import dataclass, replace

from lm_core.config import ModelConfig
from lm_core.init import VOCABULARY
from lm_core.parameter_shapes import parameter_shapes


@dataclass(frozen=True)
class FileTensor:
    """One tensor of a file: some of our parameters joined along their first axis, then transposed where it says so.

    Of a parameter with padding, only the first `rows` rows are in the file.
    """

    name: str
    parameters: tuple[str, ...]
    transposed: bool = False
    rows: int | None = None


# Buffers that older files carry and that are computed here.
IGNORED = re.compile(r"(.*\.)?(rotary_emb\.inv_freq|attn\.bias|attn\.masked_bias)")
GPT2_PREFIX = "transformer."


def file_tensors(config: ModelConfig) -> list[FileTensor]:
    """The file's tensors for a model of this config; together they hold every parameter once.

    A tied head has no tensor of its own. For `family == "lm_core"`, the names are our own parameters' names.
    """
    if config.family == "gpt2":
        found = _gpt2(config)
    elif config.family == "lm_core":
        found = [FileTensor(name, (name,)) for name in parameter_shapes(config)]
    else:
        found = _llama(config)
    if config.padded_vocab_size == config.vocab_size:
        return found
    return [
        replace(tensor, rows=config.vocab_size) if tensor.parameters[0] in VOCABULARY else tensor
        for tensor in found
    ]


def stored_shape(tensor: FileTensor, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of a file's tensor, from its parameters' shapes."""
    parts = [shapes[name] for name in tensor.parameters]
    joined = (sum(part[0] for part in parts) if tensor.rows is None else tensor.rows, *parts[0][1:])
    return joined[::-1] if tensor.transposed else joined


def head_and_embedding(config: ModelConfig) -> tuple[str, str]:
    """The file's names of the output head and of the table it may be tied to."""
    if config.family == "gpt2":
        return "lm_head.weight", f"{GPT2_PREFIX}wte.weight"
    if config.family == "lm_core":
        return "head.weight", "embedding.weight"
    return "lm_head.weight", "model.embed_tokens.weight"


def _llama(config: ModelConfig) -> list[FileTensor]:
    """Llama, Mistral, Qwen2 and Qwen3: one tensor for each parameter, no transposes."""
    parts = {
        "attention_norm": "input_layernorm",
        "attention.q": "self_attn.q_proj",
        "attention.k": "self_attn.k_proj",
        "attention.v": "self_attn.v_proj",
        "attention.o": "self_attn.o_proj",
        "attention.q_norm": "self_attn.q_norm",
        "attention.k_norm": "self_attn.k_norm",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.up": "mlp.up_proj",
        "feed_forward.down": "mlp.down_proj",
    }
    top = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
    found = []
    for name in parameter_shapes(config):
        if name.startswith("blocks."):
            _, layer, rest = name.split(".", 2)
            part, kind = rest.rsplit(".", 1)
            theirs = f"model.layers.{layer}.{parts[part]}.{kind}"
        else:
            part, kind = name.rsplit(".", 1)
            theirs = f"{top[part]}.{kind}"
        found.append(FileTensor(theirs, (name,)))
    return found


def _gpt2(config: ModelConfig) -> list[FileTensor]:
    """GPT-2: q, k and v in one tensor, and the matrices of a block stored input-first (its "Conv1D")."""
    found = [
        FileTensor(f"{GPT2_PREFIX}wte.weight", ("embedding.weight",)),
        FileTensor(f"{GPT2_PREFIX}wpe.weight", ("position_embedding.weight",)),
    ]
    for layer in range(config.n_layers):
        ours, theirs = f"blocks.{layer}.", f"{GPT2_PREFIX}h.{layer}."
        for kind in ("weight", "bias"):
            matrix = kind == "weight"
            qkv = tuple(f"{ours}attention.{part}.{kind}" for part in "qkv")
            found += [
                FileTensor(f"{theirs}ln_1.{kind}", (f"{ours}attention_norm.{kind}",)),
                FileTensor(f"{theirs}attn.c_attn.{kind}", qkv, matrix),
                FileTensor(f"{theirs}attn.c_proj.{kind}", (f"{ours}attention.o.{kind}",), matrix),
                FileTensor(f"{theirs}ln_2.{kind}", (f"{ours}feed_forward_norm.{kind}",)),
                FileTensor(f"{theirs}mlp.c_fc.{kind}", (f"{ours}feed_forward.up.{kind}",), matrix),
                FileTensor(f"{theirs}mlp.c_proj.{kind}", (f"{ours}feed_forward.down.{kind}",), matrix),
            ]
    found += [FileTensor(f"{GPT2_PREFIX}ln_f.{kind}", (f"norm.{kind}",)) for kind in ("weight", "bias")]
    if not config.tie_embeddings:
        found.append(FileTensor("lm_head.weight", ("head.weight",)))
    return found
