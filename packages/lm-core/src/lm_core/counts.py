"""Closed forms for how large a model is and how much arithmetic a token costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # config.py counts parameters while it checks itself
    from lm_core.config import ModelConfig


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
