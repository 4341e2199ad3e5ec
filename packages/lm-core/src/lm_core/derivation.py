"""One dial, parameters or depth, from which all sizes of a model follow, with the derivation."""

from dataclasses import dataclass

from lm_core.config import LARGEST, MAX_PARAMETERS, ModelConfig
from lm_core.counts import flops_per_token, parameter_count
from lm_core.errors import ConfigError

ASPECT = 64  # d_model / n_layers of GPT-2 small, nanochat and others; from 48 to 96 little is lost (Kaplan et al. 2020, figure 5)
NARROWEST, WIDEST = 48, 96
D_HEAD = 64  # half of it in models narrower than
SMALL_WIDTH = 256
NEAR = 0.1  # of the parameters wanted: near enough to choose by shape
TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022, https://arxiv.org/abs/2203.15556


@dataclass(frozen=True)
class Derivation:
    """A config and how it came about, line by line: `print(derive(...))` shows it."""

    config: ModelConfig
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def derive(
    *, vocab_size: int, parameters: int | None = None, depth: int | None = None, context: int = 256
) -> Derivation:
    """A Qwen3 block's sizes from one number: about so many `parameters` in all, or so many layers.

        depth        d_model = 64 depth, heads of 64 (32 below d_model 256), d_ff = 8/3 d_model up to a multiple of 64
        parameters   of all depths and widths of 48 to 96 times the depth: of those within a tenth of the number
                     wanted the one whose d_model / depth is nearest to 64; if none is, the nearest

    The widths are Kaplan et al. 2020's (https://arxiv.org/abs/2001.08361), who find that shape matters little.
    Raises ConfigError unless exactly one of the two is given, and when even the smallest model is too large.
    """
    if (parameters is None) == (depth is None):
        raise ConfigError("derive needs exactly one of parameters and depth")
    lines = []
    if depth is not None:
        deepest = LARGEST["d_model"] // ASPECT
        if isinstance(depth, bool) or not isinstance(depth, int) or not 1 <= depth <= deepest:
            raise ConfigError(f"depth must be a whole number from 1 to {deepest:,}, got {depth!r}")
        config = _shape(depth, ASPECT * depth, vocab_size, context)
        lines.append(f"depth {depth} is given; d_model = {ASPECT} x {depth} = {config.d_model:,}")
    else:
        assert parameters is not None
        if not 1 <= parameters <= MAX_PARAMETERS:
            raise ConfigError(f"parameters must be from 1 to {MAX_PARAMETERS:,}, got {parameters:,}")
        config = _nearest(parameters, vocab_size, context)
        lines.append(f"about {parameters:,} parameters are wanted, with a vocabulary of {vocab_size:,}")
        ratio = config.d_model / config.n_layers
        near = abs(parameter_count(config) - parameters) <= NEAR * parameters
        lines.append(
            f"{config.n_layers} layers of d_model {config.d_model:,} = {ratio:.0f} x depth: within a tenth the nearest to {ASPECT} x depth"
            if near
            else f"{config.n_layers} layers of d_model {config.d_model:,}: the nearest that there is"
        )
    total, tables = parameter_count(config), 2 * config.vocab_size * config.d_model
    lines += [
        f"heads: {config.d_model:,} / {config.d_head} = {config.n_heads}; d_ff: 8/3 x {config.d_model:,}, up to a multiple of 64, = {config.d_ff:,}",
        f"parameters: {tables:,} in the embedding and the head + {total - tables:,} in the blocks = {total:,}",
        f"training memory: 16 bytes a parameter (weights, gradients, AdamW's two) = {16 * total / 2**20:,.0f} MiB, and activations",
        f"a good length: {TOKENS_PER_PARAMETER} tokens a parameter = {TOKENS_PER_PARAMETER * total:,} tokens, "
        f"{flops_per_token(config, context) * TOKENS_PER_PARAMETER * total:.2g} floating-point operations",
    ]
    return Derivation(config, tuple(lines))


def _shape(depth: int, d_model: int, vocab_size: int, context: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab_size,
        context=context,
        d_model=d_model,
        n_layers=depth,
        n_heads=d_model // (D_HEAD if d_model >= SMALL_WIDTH else D_HEAD // 2),
        qk_norm=True,
    )


def _nearest(parameters: int, vocab_size: int, context: int) -> ModelConfig:
    found: list[tuple[int, float, ModelConfig]] = []  # (how far off, how far from the usual aspect, config)
    depth = 1
    while True:
        smaller = False
        d_model = _width_at_least(NARROWEST * depth)
        while d_model <= WIDEST * depth:
            config = _shape(depth, d_model, vocab_size, context)
            count = parameter_count(config)
            found.append((abs(count - parameters), abs(d_model / depth - ASPECT), config))
            if count > parameters:
                break
            smaller = True
            d_model = _width_at_least(d_model + 1)
        if not smaller:
            break
        depth += 1
    near = [entry for entry in found if entry[0] <= parameters * NEAR]
    if near:
        return min(near, key=lambda entry: (entry[1], entry[0]))[2]
    off, _, config = min(found, key=lambda entry: entry[:2])
    if off > parameters:
        raise ConfigError(
            f"with a vocabulary of {vocab_size:,} the smallest model has {parameter_count(config):,} parameters, "
            f"got {parameters:,}; take a smaller vocabulary"
        )
    return config


def _width_at_least(width: int) -> int:
    """The next multiple of 32, of 64 from 256 on: whole heads."""
    step = 32 if width <= SMALL_WIDTH - 32 else D_HEAD
    return -(-width // step) * step
