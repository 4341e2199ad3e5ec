"""Tokens as a client reads them: text where the bytes are text, `bytes:\\xe2\\x80` (OpenAI's way) where they are not."""

from lm_tokenizer import Tokenizer


class TokenNames:
    """The texts of a tokenizer's ids; an id that stands for nothing is the empty text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.texts = {id: name(data) for id, data in tokenizer.vocab.items()}

    def __getitem__(self, id: int) -> str:
        return self.texts.get(id, "")


def name(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
