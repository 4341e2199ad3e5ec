"""Byte-level BPE: train a tokenizer, turn text into ids and ids into text, exactly and fast."""

from lm_tokenizer.counts import PretokenCounts
from lm_tokenizer.decode_stream import DecodeStream
from lm_tokenizer.documents import DocumentReader, Documents, EncodedDocuments
from lm_tokenizer.errors import (
    DecodeError,
    FileAccessError,
    InvalidTextError,
    SpecialTokenError,
    TokenizerError,
    TokenizerFileError,
    UnknownIdError,
    VocabularyError,
)
from lm_tokenizer.tokenizer import Tokenizer
from lm_tokenizer.types import PATTERN_NAMES, FileEncoding, Progress, Special

__version__ = "0.1.0"

__all__ = [
    "PATTERN_NAMES",
    "DecodeError",
    "DecodeStream",
    "DocumentReader",
    "Documents",
    "EncodedDocuments",
    "FileAccessError",
    "FileEncoding",
    "InvalidTextError",
    "PretokenCounts",
    "Progress",
    "Special",
    "SpecialTokenError",
    "Tokenizer",
    "TokenizerError",
    "TokenizerFileError",
    "UnknownIdError",
    "VocabularyError",
]
