"""Every bound of the server in one place: no request costs more than these, whoever sends it."""

from dataclasses import dataclass

from lm_generate.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Counts, bytes and seconds. Raises `SettingError` for a value that is not above zero."""

    slots: int = 16
    """Texts written at once, for each model; further ones wait for their turn."""
    requests: int = 64
    """Requests being answered; one more gets 429 and is asked to come again."""
    connections: int = 256
    """Open connections; one more is answered 503 and closed."""
    loaded: int = 4
    """Models in memory; the one unused for longest makes room."""
    body_bytes: int = 2**20
    header_bytes: int = 16 * 2**10
    send_bytes: int = 128 * 2**10
    """What the system keeps of an answer that its reader has not fetched."""
    max_tokens: int = 4096
    """Tokens of one text."""
    texts: int = 128
    """Texts of one request: prompts times n."""
    top: int = 20
    """Likeliest tokens told beside each one."""
    stops: int = 16
    """Stop strings, each of at most `stop_characters`."""
    stop_characters: int = 256
    constraint_characters: int = 16_384
    """Of a regular expression, and of a JSON schema."""
    biases: int = 1024
    """Entries of logit_bias."""
    score_tokens: int = 16_384
    """Tokens of a text to score."""
    header_seconds: float = 10.0
    """From the first byte awaited to the end of the headers."""
    body_seconds: float = 20.0
    discard_bytes: int = 8 * 2**20
    """What is read of a body that is refused, and for how long, so that its sender hears why (transport.py)."""
    discard_seconds: float = 1.0
    request_seconds: float = 600.0
    """From the whole body to the end of the answer."""
    send_seconds: float = 20.0
    """How long a reader may leave the socket full."""
    idle_seconds: float = 10.0
    """How long a connection stays open between requests."""
    grace_seconds: float = 20.0
    """What requests under way are given to end when the server is stopped."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise SettingError(f"{name} must be above 0, got {value}")
