"""The sliding window of a `config.json`: `sliding_window`, `use_sliding_window`, `max_window_layers`, `layer_types`.

transformers' rule: a Mistral model looks back over `sliding_window` tokens in every layer; a Qwen model does where
`use_sliding_window` is set, from layer `max_window_layers` on; a Llama or GPT-2 model never. Here all layers are alike.
"""

from typing import Any

from lm_core.config import ModelConfig

FULL, SLIDING = "full_attention", "sliding_attention"
DEFAULT_WINDOW = 4096  # transformers' for mistral and qwen
DEFAULT_FULL_LAYERS = 28  # and its max_window_layers


def window_to_json(config: ModelConfig) -> dict[str, Any]:
    """The fields that say it, for the family of this config."""
    window = config.sliding_window
    if config.family == "mistral":
        return {"sliding_window": window}
    if config.family not in ("qwen2", "qwen3"):
        return {}
    if window is None:
        return {"use_sliding_window": False, "sliding_window": None, "max_window_layers": config.n_layers}
    kinds = [SLIDING] * config.n_layers
    return {
        "use_sliding_window": True,
        "sliding_window": window,
        "max_window_layers": 0,
        "layer_types": kinds,
    }


def window_from_json(data: dict[str, Any], context: Any) -> tuple[Any, list[str]]:
    """The window, None where every token sees all before it, and a complaint for what cannot be honoured."""
    family, kinds = data["model_type"], data.get("layer_types") or []
    if not isinstance(kinds, list):
        return None, [f"layer_types = {kinds!r}"]
    if others := sorted({str(kind) for kind in kinds} - {FULL, SLIDING}):
        return None, [f"layer_types with {', '.join(others)}"]
    window = data.get("sliding_window", None if family == "llama" else DEFAULT_WINDOW)
    if family.startswith("qwen") and not data.get("use_sliding_window", False):
        window = None
    if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
        return None, [f"sliding_window = {window!r}"]
    if window is None:
        return None, [f"layer_types with {SLIDING}, but no sliding_window in use"] if SLIDING in kinds else []
    if isinstance(context, int) and window >= context:
        return None, []
    if family == "llama":
        return None, [f"sliding_window = {window!r}, smaller than the context of {context}, in a llama"]
    return (window, []) if (sliding := _slides(data, kinds)) is True else (None, [sliding] if sliding else [])


def _slides(data: dict[str, Any], kinds: list[Any]) -> bool | str:
    """True: every layer has the window. "": none has. Or the complaint that some have."""
    if kinds:
        found = {str(kind) for kind in kinds}
        if len(found) > 1:
            return "layer_types of both kinds (all layers alike are implemented)"
        return True if found == {SLIDING} else ""
    if data["model_type"] == "mistral":
        return True
    first, layers = data.get("max_window_layers", DEFAULT_FULL_LAYERS), data.get("num_hidden_layers")
    if not isinstance(first, int) or not isinstance(layers, int):
        return f"max_window_layers = {first!r} of {layers!r} layers"
    if 0 < first < layers:
        return f"max_window_layers = {first} of {layers} layers (0 or all are implemented)"
    return True if first <= 0 else ""
