"""The same model as others build it, as functions from a config and ids to logits: transformers, torch.nn's layers, and, where they
are installed (pip install litgpt x-transformers), litgpt and x-transformers. A peer for benchmarks only.

nanoGPT is in no package index. Its model is GPT-2's, with the same parameters: transformers' GPT-2, with torch's fused attention and
torch's gelu as nanoGPT has them, stands for it.
"""

import importlib.util
from collections.abc import Callable

import torch
from lm_core import ModelConfig
from torch import Tensor, nn
from torch_llama import TorchLlama

Peer = tuple[nn.Module, Callable[[Tensor], Tensor]]
"""A model, and its logits of ids."""


def transformers_peer(config: ModelConfig) -> Peer:
    import transformers

    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.d_head,
        "max_position_embeddings": config.context,
    }
    model: nn.Module
    if config.qk_norm:
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape))
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    return model, lambda ids: model(input_ids=ids, use_cache=False).logits


def gpt2_peer(config: ModelConfig) -> Peer:
    import transformers

    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context,
            n_embd=config.d_model,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            n_inner=config.d_ff,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            attn_implementation="sdpa",
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    return model, lambda ids: model(input_ids=ids, use_cache=False).logits


def torch_peer(config: ModelConfig) -> Peer:
    model = TorchLlama(config)
    return model, model


def litgpt_peer(config: ModelConfig) -> Peer:
    from litgpt.model import GPT, Config

    model = GPT(
        Config(
            name="peer",
            block_size=config.context,
            vocab_size=config.vocab_size,
            padded_vocab_size=config.vocab_size,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            n_query_groups=config.n_kv_heads,
            n_embd=config.d_model,
            head_size=config.d_head,
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            norm_qk=config.qk_norm,
            mlp_class_name="LLaMAMLP",
            intermediate_size=config.d_ff,
        )
    )
    return model, model


def x_transformers_peer(config: ModelConfig) -> Peer:
    from x_transformers import Decoder, TransformerWrapper

    model = TransformerWrapper(
        num_tokens=config.vocab_size,
        max_seq_len=config.context,
        use_abs_pos_emb=False,
        attn_layers=Decoder(
            dim=config.d_model,
            depth=config.n_layers,
            heads=config.n_heads,
            attn_dim_head=config.d_head,
            attn_flash=True,
            rotary_pos_emb=True,
            use_rmsnorm=True,
            ff_glu=True,
            ff_swish=True,
            ff_no_bias=True,
            ff_mult=config.d_ff / config.d_model,
        ),
    )
    return model, model


def installed_peers(config: ModelConfig) -> dict[str, Peer]:
    """Every peer that this environment has, by name."""
    if config.family == "gpt2":  # litgpt and x-transformers have no such block with these very parameters
        return {"transformers": gpt2_peer(config)}
    peers = {"transformers": transformers_peer(config), "torch.nn layers": torch_peer(config)}
    if importlib.util.find_spec("litgpt"):
        peers["litgpt"] = litgpt_peer(config)
    if importlib.util.find_spec("x_transformers") and not config.qk_norm:
        peers["x-transformers"] = x_transformers_peer(config)
    return peers


def torch_loss(logits: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """torch's cross-entropy of a peer's logits, of ids and targets."""

    def loss(ids: Tensor, targets: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(logits(ids).flatten(0, 1), targets.flatten())

    return loss


def peer_step(peer: Peer, ids: Tensor, targets: Tensor) -> Callable[[], None]:
    """Forward, torch's cross-entropy and backward."""
    model, logits = peer
    loss = torch_loss(logits)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        loss(ids, targets).backward()

    return step
