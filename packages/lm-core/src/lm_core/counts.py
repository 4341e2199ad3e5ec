"""Closed forms for how large a model is, how much arithmetic a token costs, and how much memory training takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lm_core.errors import ConfigError
from lm_core.parameter_shapes import parameter_shapes

if (
    TYPE_CHECKING
):  # config.py counts parameters while it checks itself; nothing here needs more than its fields
    from lm_core.config import ModelConfig

OPTIMIZERS = ("adamw", "schedule_free", "lion", "muon", "adafactor")


def parameter_count(config: ModelConfig) -> int:
    """Trainable numbers in `Transformer(config)`; tied embeddings count once.

    embedding          padded_vocab_size d_model       (+ context d_model for learned positions)
    attention          d_model d_head (2 n_heads + 2 n_kv_heads)    (+ biases, + 2 d_head for qk_norm)
    feed-forward       d_model d_ff (3 with a gate, 2 without)      (+ biases)
    norms              d_model each: two a block and one at the end (twice that for LayerNorm with bias)
    head               padded_vocab_size d_model, unless tied
    """
    norm = config.d_model * (2 if config.norm == "layer" and config.bias else 1)
    block = matrix_parameters_per_block(config) + 2 * norm
    if config.qk_norm:
        block += 2 * config.d_head
    if config.bias or config.qkv_bias:
        block += config.d_head * (config.n_heads + 2 * config.n_kv_heads)
    if config.bias:
        ups = 2 if config.activation == "swiglu" else 1
        block += config.d_model + ups * config.d_ff + config.d_model
    embeddings = config.padded_vocab_size * config.d_model * (1 if config.tie_embeddings else 2)
    if config.position == "learned":
        embeddings += config.context * config.d_model
    return embeddings + config.n_layers * block + norm


def matrix_parameters_per_block(config: ModelConfig) -> int:
    """Entries of one block's weight matrices, the ones that every token is multiplied by."""
    attention = config.d_model * config.d_head * (2 * config.n_heads + 2 * config.n_kv_heads)
    matrices = 3 if config.activation == "swiglu" else 2
    return attention + matrices * config.d_model * config.d_ff


def flops_per_token(config: ModelConfig, context: int, *, backward: bool = True) -> int:
    """Floating-point operations in matrix products for one token of a sequence of `context` tokens.

    A product of a vector with an (m, n) matrix is m n multiplications and m n additions: 2 m n. So, forward:

        2 (n_layers matrix_parameters_per_block + padded_vocab_size d_model)   the weights; an embedding look-up is free
      + n_layers n_heads 4 d_head context                                  q k^T and weights v, 2 d_head context each

    and `backward=True`, a whole training step, is three times that: each product y = x W has two more of its size
    behind it, for the gradients of x and of W. The masked half of the attention is counted as if it were computed,
    the convention of Chowdhery et al. 2022 (PaLM, https://arxiv.org/abs/2204.02311, appendix B), so that figures
    compare with other people's. Norms, activations and the rotation are left out (under 1 %).
    """
    weights = (
        config.n_layers * matrix_parameters_per_block(config) + config.padded_vocab_size * config.d_model
    )
    attention = config.n_layers * config.n_heads * 2 * config.d_head * context
    return (3 if backward else 1) * 2 * (weights + attention)


def optimizer_bytes(config: ModelConfig, optimizer: str, bytes_per_number: int = 4) -> int:
    """What an optimizer of lm_core.optim keeps from step to step, beside the weights and their gradients.

    adamw, schedule_free    2 numbers a parameter (m and v; z and v)
    lion                    1 (m)
    muon                    1 for the matrices of the blocks (B), AdamW's 2 for the rest
    adafactor               a row and a column for each matrix, 1 a number of a vector
    """
    shapes = parameter_shapes(config)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if optimizer in ("adamw", "schedule_free"):
        numbers = 2 * sum(sizes.values())
    elif optimizer == "lion":
        numbers = sum(sizes.values())
    elif optimizer == "muon":
        numbers = sum(
            size * (1 if name.startswith("blocks.") and len(shapes[name]) == 2 else 2)
            for name, size in sizes.items()
        )
    elif optimizer == "adafactor":
        numbers = sum(sum(shape) for shape in shapes.values())
    else:
        raise ConfigError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    return numbers * bytes_per_number


def activation_bytes(
    config: ModelConfig, batch: int, length: int, bytes_per_number: int = 4, *, recompute: bool = False
) -> int:
    """What a forward pass keeps for the backward pass: `model(ids)` in eager mode with the fast paths, before the loss.

    Numbers a token, with d = d_model, q = n_heads d_head, k = n_kv_heads d_head, f = d_ff:

        a block     4 d (what each norm and the products after it read), 2 q + 2 k (queries, output, keys, values),
                    4 f with a gate (gate, silu(gate), up, their product), 2 f for gelu and silu, 3 f for relu2,
                    one number a norm and row (two for LayerNorm), one a head (attention's normaliser);
                    qk_norm: q + k more, and one number a head; dropout: 2 d more
        the rest    2 d and the last norm's; dropout: d more; logit_softcap: padded_vocab_size more; the id, 8 bytes

    A sliding window shorter than the sequence adds its mask, length**2 numbers a layer. cross_entropy then keeps
    vocab_size numbers a token, model.loss d_model. `documents=` adds q numbers a token and block on a CPU (the outputs of all documents,
    put together), and for learned positions 8 bytes a token. With `recompute` it is d for each block, and in the backward pass all
    of one block at a time.
    """
    d, q, k = config.d_model, config.n_heads * config.d_head, config.n_kv_heads * config.d_head
    inner = {"swiglu": 4, "gelu": 2, "silu": 2, "relu2": 3}[config.activation] * config.d_ff
    per_norm = 2 if config.norm == "layer" else 1
    block = 4 * d + 2 * q + 2 * k + inner + 2 * per_norm + config.n_heads
    if config.qk_norm:
        block += q + k + config.n_heads + config.n_kv_heads
    rest = 2 * d + per_norm
    if config.dropout:
        block, rest = block + 2 * d, rest + d
    if config.logit_softcap is not None:
        rest += config.padded_vocab_size
    windowed = config.sliding_window is not None and config.sliding_window < length
    mask = length**2 if windowed else 0
    layers = 1 if recompute else config.n_layers
    inputs = (config.n_layers - layers) * d  # of the blocks that are not held whole
    numbers = batch * length * (layers * block + inputs + rest) + layers * mask
    return numbers * bytes_per_number + batch * length * 8


def autocast_bytes(config: ModelConfig, batch: int, length: int, *, recompute: bool = False) -> int:
    """What a forward pass under autocast to a type of 2 bytes keeps beyond `activation_bytes(config, batch, length, 2)`.

    Numbers of 4 bytes instead of 2: the stream that each norm reads, what norms and attention divide by; with biases also what the
    activation makes (3 d_ff with a gate, d_ff without). And copies in 2 bytes: every weight matrix of a block is kept until its gradient
    is there, and without biases the rotary tables are, twice for queries and for keys.
    """
    d, gated = config.d_model, config.activation == "swiglu"
    normalisers = 2 * (2 if config.norm == "layer" else 1) + config.n_heads
    if config.qk_norm:
        normalisers += config.n_heads + config.n_kv_heads
    wider = 2 * d + normalisers + (0 if not config.bias else 3 * config.d_ff if gated else config.d_ff)
    narrow = config.position == "rope" and not (config.bias or config.qkv_bias)
    tables = 4 * length * config.d_head if narrow else 0
    block = batch * length * wider + matrix_parameters_per_block(config) + tables
    layers = 1 if recompute else config.n_layers
    inputs = (config.n_layers - layers) * d
    rest = d + (2 if config.norm == "layer" else 1)
    return 2 * (layers * block + batch * length * (inputs + rest))
