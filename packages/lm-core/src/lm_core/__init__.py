"""The from-scratch transformer: model, losses, optimizers, schedules and the model folder.

Names are looked up when they are first used, so that what needs no model (`lm_core.manifest` ...) is had without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_core.activation import silu, softmax
    from lm_core.attention import Attention, attend
    from lm_core.config import ModelConfig
    from lm_core.derivation import derive
    from lm_core.embedding import Embedding
    from lm_core.feed_forward import MLP, SwiGLU
    from lm_core.kv_cache import KVCache
    from lm_core.linear import Linear
    from lm_core.linear_loss import linear_cross_entropy, soft_cap
    from lm_core.loss import IGNORED, cross_entropy
    from lm_core.model_folder import load_model, read_config, save_model
    from lm_core.norm import LayerNorm, RMSNorm
    from lm_core.optim.clip import clip_grad_norm
    from lm_core.rope import RotaryEmbedding
    from lm_core.rope_scaling import RopeScaling
    from lm_core.transformer import Block, Transformer

__all__ = [
    "IGNORED",
    "MLP",
    "Attention",
    "Block",
    "Embedding",
    "KVCache",
    "LayerNorm",
    "Linear",
    "ModelConfig",
    "RMSNorm",
    "RopeScaling",
    "RotaryEmbedding",
    "SwiGLU",
    "Transformer",
    "attend",
    "clip_grad_norm",
    "cross_entropy",
    "derive",
    "linear_cross_entropy",
    "load_model",
    "read_config",
    "save_model",
    "silu",
    "soft_cap",
    "softmax",
]
__version__ = "0.1.0"

_HOMES = {
    "IGNORED": "loss",
    "MLP": "feed_forward",
    "Attention": "attention",
    "Block": "transformer",
    "Embedding": "embedding",
    "KVCache": "kv_cache",
    "LayerNorm": "norm",
    "Linear": "linear",
    "ModelConfig": "config",
    "RMSNorm": "norm",
    "RopeScaling": "rope_scaling",
    "RotaryEmbedding": "rope",
    "SwiGLU": "feed_forward",
    "Transformer": "transformer",
    "attend": "attention",
    "clip_grad_norm": "optim.clip",
    "cross_entropy": "loss",
    "derive": "derivation",
    "linear_cross_entropy": "linear_loss",
    "load_model": "model_folder",
    "read_config": "model_folder",
    "save_model": "model_folder",
    "silu": "activation",
    "soft_cap": "linear_loss",
    "softmax": "activation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = vars(import_module(f"{__name__}.{_HOMES[name]}"))[name]
    globals()[name] = found  # the next look-up does not come here
    return found
