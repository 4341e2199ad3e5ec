"""Every error of this package: `TokenizerError` catches them all, and each is a ValueError too."""


class TokenizerError(ValueError):
    """What was wanted, what came, and what to do. Raised itself for an argument that is out of its range."""


class SpecialTokenError(TokenizerError):
    """A text holds a special token that is not allowed there, or a name is no special token's."""


class InvalidTextError(TokenizerError):
    """A text that has no ids: it holds a lone surrogate, or a character that a character-level tokenizer lacks."""


class UnknownIdError(TokenizerError):
    """An id to decode that is negative or not in the vocabulary."""


class DecodeError(TokenizerError):
    """Ids whose bytes are not UTF-8, where the caller asked for `errors="strict"` or for offsets."""


class VocabularyError(TokenizerError):
    """Tokens, merges and special tokens that do not make one vocabulary."""


class TokenizerFileError(TokenizerError):
    """A file that is not what it should be; the message names file, entry and fault."""


class FileAccessError(TokenizerFileError, OSError):
    """A file that cannot be opened, read or written; the message names it and the system's reason."""
