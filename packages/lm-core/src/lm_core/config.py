"""`ModelConfig`: every choice that fixes a model's shape and formula, checked before anything is allocated."""

from dataclasses import dataclass
from typing import Literal, no_type_check

from lm_core.counts import parameter_count
from lm_core.errors import ConfigError
from lm_core.rope_scaling import RopeScaling, is_finite_number
from lm_core.sizes import size_named

Position = Literal["rope", "learned", "sinusoidal", "none"]
Norm = Literal["rms", "layer"]
Activation = Literal["swiglu", "gelu", "relu2", "silu"]
Init = Literal["fan_in", "gpt2", "truncated", "mup"]
Family = Literal["llama", "mistral", "qwen2", "qwen3", "gpt2", "lm_core"]

CHOICES = {
    "position": ("rope", "learned", "sinusoidal", "none"),
    "norm": ("rms", "layer"),
    "activation": ("swiglu", "gelu", "relu2", "silu"),
    "init": ("fan_in", "gpt2", "truncated", "mup"),
}
# Larger than any model published, small enough that a hostile file cannot make a machine swap.
LARGEST = {
    "vocab_size": 2**24,
    "context": 2**24,
    "d_model": 2**18,
    "n_layers": 10_000,
    "n_heads": 2**14,
    "n_kv_heads": 2**14,
    "d_head": 2**14,
    "d_ff": 2**21,
    "sliding_window": 2**24,
    "vocab_multiple": 2**14,
}
MAY_BE_NONE = ("n_kv_heads", "d_head", "d_ff", "sliding_window")
MAX_PARAMETERS = 10**12


@no_type_check  # for the tests' type checker: a wrong type is __post_init__'s to name, as a ConfigError
@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape and the formula of a decoder-only transformer.

    The defaults are a Llama block: pre-norm RMSNorm, rotary positions in half-split form, causal attention, SwiGLU.
    `qk_norm=True` makes it a Qwen3 block, `qkv_bias=True` a Qwen2 block, and
    `position="learned", norm="layer", activation="gelu", bias=True` a GPT-2 block (gelu in its tanh form).
    `exportable` says whether other software knows the block; `why_not_exportable` says what it does not know.

    Left as None and filled in here, so that reading them always gives a number:
    `n_kv_heads` (n_heads), `d_head` (d_model / n_heads), and `d_ff` (8/3 d_model rounded up to a multiple of 64 for
    swiglu, 4 d_model for the activations without a gate: the same number of weights).

    Raises ConfigError, with the reason, for wrong types, sizes that do not fit each other, combinations that
    mean nothing, and models of more than 10^12 parameters.
    """

    vocab_size: int
    context: int = 256
    """The largest number of tokens the model sees at once."""
    d_model: int = 256
    n_layers: int = 4
    n_heads: int = 4
    n_kv_heads: int = None  # type: ignore[assignment]
    """Key and value heads; fewer than n_heads is grouped-query attention."""
    d_head: int = None  # type: ignore[assignment]
    d_ff: int = None  # type: ignore[assignment]
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    tie_embeddings: bool = False
    """The output head uses the embedding's weights."""
    qk_norm: bool = False
    """RMSNorm over each head's query and key, before the rotation."""
    position: Position = "rope"
    norm: Norm = "rms"
    activation: Activation = "swiglu"
    bias: bool = False
    """A bias on every linear layer but the head, and on LayerNorm."""
    qkv_bias: bool = False
    """A bias on the query, key and value projections only."""
    rope_scaling: RopeScaling | None = None
    init: Init = "fan_in"
    """How weights start: see lm_core/init.py."""
    sliding_window: int | None = None
    """A token sees itself and the sliding_window - 1 before it; None: all before it."""
    dropout: float = 0.0
    """Share of numbers dropped while training, from the embedding and from what each half block adds to the stream."""
    logit_softcap: float | None = None
    """The logits become cap tanh(logits / cap), so that they stay within +-cap; None: as they are."""
    vocab_multiple: int = 1
    """The embedding and the head have rows up to a multiple of this: padding that is never sampled, lost on or saved."""

    def __post_init__(self) -> None:
        self._check_types()
        if self.n_kv_heads is None:
            object.__setattr__(self, "n_kv_heads", self.n_heads)
        if self.d_head is None:
            if self.d_model % self.n_heads:
                raise ConfigError(
                    f"n_heads ({self.n_heads}) must divide d_model ({self.d_model}); or give d_head yourself"
                )
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)
        if self.d_ff is None:
            gated = -(-8 * self.d_model // (3 * 64)) * 64
            object.__setattr__(self, "d_ff", gated if self.activation == "swiglu" else 4 * self.d_model)
        self._check_combinations()
        parameters = parameter_count(self)
        if parameters > MAX_PARAMETERS:
            raise ConfigError(
                f"this model would have {parameters:,} parameters; at most {MAX_PARAMETERS:,} are allowed"
            )

    def _check_types(self) -> None:
        for name, largest in LARGEST.items():
            value = getattr(self, name)
            if value is None and name in MAY_BE_NONE:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{name} must be a whole number, got {value!r}")
            if not 1 <= value <= largest:
                raise ConfigError(f"{name} must be from 1 to {largest:,}, got {value:,}")
        for name in ("tie_embeddings", "qk_norm", "bias", "qkv_bias"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for name, low in (("rope_theta", 1.0), ("norm_eps", 0.0)):
            value = getattr(self, name)
            if not is_finite_number(value):
                raise ConfigError(f"{name} must be a finite number, got {value!r}")
            if value <= low:
                raise ConfigError(f"{name} must be above {low}, got {value!r}")
            object.__setattr__(self, name, float(value))
        if not is_finite_number(self.dropout) or not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be a number from 0 to below 1, got {self.dropout!r}")
        object.__setattr__(self, "dropout", float(self.dropout))
        if self.logit_softcap is not None:
            if not is_finite_number(self.logit_softcap) or self.logit_softcap <= 0:
                raise ConfigError(
                    f"logit_softcap must be a finite number above 0 or None, got {self.logit_softcap!r}"
                )
            object.__setattr__(self, "logit_softcap", float(self.logit_softcap))
        if self.norm_eps >= 1:
            raise ConfigError(f"norm_eps must be below 1, got {self.norm_eps!r}")
        if self.rope_scaling is not None and not isinstance(self.rope_scaling, RopeScaling):
            raise ConfigError(f"rope_scaling must be a RopeScaling or None, got {self.rope_scaling!r}")

    def _check_combinations(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ConfigError(f"n_kv_heads ({self.n_kv_heads}) must divide n_heads ({self.n_heads})")
        if self.position == "rope" and self.d_head % 2:
            raise ConfigError(f"rope turns pairs of numbers, so d_head must be even, got {self.d_head}")
        if self.position == "sinusoidal" and self.d_model % 2:
            raise ConfigError(
                f"sinusoidal positions come in pairs, so d_model must be even, got {self.d_model}"
            )
        if self.rope_scaling is not None and self.position != "rope":
            raise ConfigError(f'rope_scaling needs position="rope", got {self.position!r}')
        if self.sliding_window is not None and self.sliding_window >= self.context:
            raise ConfigError(
                f"sliding_window ({self.sliding_window}) is not smaller than the context ({self.context}), so it would "
                "do nothing; leave it None"
            )
        if self.bias and self.qkv_bias:
            raise ConfigError("bias=True already gives query, key and value a bias; leave qkv_bias False")
        if self.init == "mup" and self.tie_embeddings:
            raise ConfigError(
                'init="mup" starts the embedding and the head by different rules, so tie_embeddings must be False'
            )

    @staticmethod
    def from_size(name: str) -> "ModelConfig":
        """The config of a whole model: "nano", "tiny", "small", "base", "gpt2", ... (all are in lm_core/sizes.py).

        Other vocabularies and contexts: `dataclasses.replace(ModelConfig.from_size("nano"), vocab_size=256)`.
        """
        return ModelConfig(**size_named(name))

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding and of the head: vocab_size rounded up to a multiple of vocab_multiple."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def family(self) -> Family:
        """The published block that this one is, under transformers' name; "lm_core" when there is none."""
        if self.why_not_exportable is not None:
            return "lm_core"
        if self.position == "learned":
            return "gpt2"
        if self.qk_norm:
            return "qwen3"
        if self.qkv_bias:
            return "qwen2"
        return "llama" if self.sliding_window is None else "mistral"

    @property
    def exportable(self) -> bool:
        """Whether transformers and its kin load a saved model of this shape as it is."""
        return self.why_not_exportable is None

    @property
    def why_not_exportable(self) -> str | None:
        """None, or which choice no published block has and what to choose instead."""
        if self.logit_softcap is not None:
            return f"logit_softcap={self.logit_softcap}: Llama, Qwen and GPT-2 have none"
        if self.position in ("sinusoidal", "none"):
            return f'position="{self.position}": only "rope" and "learned" are known elsewhere'
        if self.position == "learned":
            return self._why_not_gpt2()
        if self.norm != "rms":
            return f'norm="{self.norm}" with rope: Llama and Qwen blocks have norm="rms"'
        if self.activation != "swiglu":
            return f'activation="{self.activation}" with rope: Llama and Qwen blocks have activation="swiglu"'
        if self.qk_norm and (self.bias or self.qkv_bias):
            return "qk_norm with biases: a Qwen3 block has none"
        if self.bias and self.sliding_window is not None:
            return "sliding_window with bias=True: a Mistral block has no biases"
        return None

    def _why_not_gpt2(self) -> str | None:
        wrong = [
            text
            for text, differs in (
                ('norm="layer"', self.norm != "layer"),
                ('activation="gelu"', self.activation != "gelu"),
                ("bias=True", not self.bias),
                ("qk_norm=False", self.qk_norm),
                ("n_kv_heads=n_heads", self.n_kv_heads != self.n_heads),
                ("d_head=d_model/n_heads", self.d_head * self.n_heads != self.d_model),
                ("sliding_window=None", self.sliding_window is not None),
            )
            if differs
        ]
        return f"learned positions are GPT-2's, whose block also has {', '.join(wrong)}" if wrong else None
