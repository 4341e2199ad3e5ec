"""The from-scratch transformer: model, losses, optimizers, schedules and the model folder."""

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
