"""The rotary settings of a `config.json`: `rope_parameters` (transformers 5), `rope_theta` + `rope_scaling` (before)."""

from typing import Any

from lm_core.config import ModelConfig
from lm_core.rope_scaling import RopeScaling

# For each kind: the file's keys and the RopeScaling fields they are.
KEYS = {
    "linear": {"factor": "factor"},
    "llama3": {
        "factor": "factor",
        "original_max_position_embeddings": "original_context",
        "low_freq_factor": "low_freq_factor",
        "high_freq_factor": "high_freq_factor",
    },
    "yarn": {
        "factor": "factor",
        "original_max_position_embeddings": "original_context",
        "beta_fast": "beta_fast",
        "beta_slow": "beta_slow",
        "attention_factor": "attention_factor",
    },
}
# Values at which further keys change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "partial_rotary_factor": (None, 1, 1.0),
    "truncate": (None, True),
    "mscale": (None,),
    "mscale_all_dim": (None,),
}


def rope_to_json(config: ModelConfig) -> dict[str, Any]:
    """Both spellings of the same settings, for readers of either age."""
    scaling = config.rope_scaling
    parameters: dict[str, Any] = {"rope_type": "default" if scaling is None else scaling.kind}
    if scaling is not None:
        for theirs, ours in KEYS[scaling.kind].items():
            if (value := getattr(scaling, ours)) is not None:
                parameters[theirs] = value
    return {
        "rope_theta": config.rope_theta,
        "rope_scaling": None if scaling is None else parameters,
        "rope_parameters": {"rope_theta": config.rope_theta, **parameters},
    }


def rope_from_json(data: dict[str, Any], context: Any) -> tuple[Any, RopeScaling | None, list[str]]:
    """theta, the scaling, and a complaint for every setting that is not understood: none is passed over.

    Raises ConfigError where a value of a known scaling makes no sense.
    """
    complaints: list[str] = []
    new, old = data.get("rope_parameters"), data.get("rope_scaling")
    for name, value in (("rope_parameters", new), ("rope_scaling", old)):
        if value is not None and not isinstance(value, dict):
            return None, None, [f"{name} is {value!r}, not an object"]
    top = data.get("rope_theta")
    inner = (new or {}).get("rope_theta")
    if top is not None and inner is not None and top != inner:
        complaints.append(
            f"rope_theta is {top!r} and rope_parameters.rope_theta is {inner!r}: they must agree"
        )
    theta = inner if inner is not None else 10_000.0 if top is None else top
    found = [_scaling(settings, context, complaints) for settings in (new, old) if settings]
    if len(found) == 2 and found[0] != found[1] and not complaints:
        complaints.append("rope_parameters and rope_scaling describe different rotations")
    return theta, (found[0] if found else None), complaints


def _scaling(settings: dict[str, Any], context: Any, complaints: list[str]) -> RopeScaling | None:
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind == "default":
        keys: dict[str, str] = {}
    elif isinstance(kind, str) and kind in KEYS:
        keys = KEYS[kind]
    else:
        complaints.append(f"rope scaling of type {kind!r}: default, linear, llama3 and yarn are understood")
        return None
    for name, value in settings.items():
        if name in ("rope_type", "type", "rope_theta") or name in keys:
            continue
        if name == "original_max_position_embeddings" and kind in ("default", "linear"):
            continue  # neither formula contains it
        if value not in NEUTRAL.get(name, (None,)):
            complaints.append(f"rope setting {name} = {value!r} with type {kind!r}")
    if kind == "default":
        return None
    values = {ours: settings[theirs] for theirs, ours in keys.items() if settings.get(theirs) is not None}
    if "factor" not in values:
        complaints.append(f"rope scaling of type {kind!r} without a factor")
        return None
    if "original_max_position_embeddings" in keys:
        values.setdefault("original_context", context)  # as transformers reads a missing one
    return RopeScaling(kind=kind, **values)
