"""The same Llama or Qwen3 model from torch.nn's own layers, as most training code writes it: a peer for benchmarks."""

import torch
from lm_core import ModelConfig
from torch import Tensor, nn
from torch.nn import functional


class TorchBlock(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = (config.n_heads, config.n_kv_heads, config.n_kv_heads)
        self.d_head = config.d_head
        self.attention_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.qkv = nn.Linear(config.d_model, sum(self.heads) * config.d_head, bias=False)
        self.o = nn.Linear(config.n_heads * config.d_head, config.d_model, bias=False)
        self.q_norm = nn.RMSNorm(config.d_head, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(config.d_head, config.norm_eps) if config.qk_norm else nn.Identity()
        self.feed_forward_norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.gate_up = nn.Linear(config.d_model, 2 * config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, -1, self.d_head)
        q, k, v = qkv.split(self.heads, dim=2)
        q, k, v = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2), v.transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape != k.shape)
        x = x + self.o(out.transpose(1, 2).reshape(batch, length, -1))
        gate, up = self.gate_up(self.feed_forward_norm(x)).chunk(2, dim=-1)
        return x + self.down(functional.silu(gate) * up)


class TorchLlama(nn.Module):
    """Merged query-key-value and gate-up products, torch's fused attention and norms, plain eager mode."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(TorchBlock(config) for _ in range(config.n_layers))
        self.norm = nn.RMSNorm(config.d_model, config.norm_eps)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        speeds = config.rope_theta ** -(torch.arange(0, config.d_head, 2) / config.d_head)
        angles = torch.arange(config.context)[:, None] * speeds
        self.register_buffer("cos", torch.cat([angles.cos(), angles.cos()], -1))
        self.register_buffer("sin", torch.cat([angles.sin(), angles.sin()], -1))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.cos[: ids.shape[1]], self.sin[: ids.shape[1]])
        return self.head(self.norm(x))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
