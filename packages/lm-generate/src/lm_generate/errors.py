"""What lm_generate raises: one base class, one subclass for each kind of mistake.

Every message says what was wanted, what came, and what to do. All but the base are also
`ValueError`s. Damaged files and impossible configurations keep lm_core's own types, texts that cannot
be encoded keep lm_tokenizer's.
"""


class LmGenerateError(Exception):
    """The base of every error that lm_generate raises on purpose."""


class SettingError(LmGenerateError, ValueError):
    """A sampling or decoding setting outside its range; the message names the setting."""


class PromptError(LmGenerateError, ValueError):
    """A prompt that cannot be read: no token in it, or ids that the model does not have."""


class ContextLengthError(LmGenerateError, ValueError):
    """More tokens than the model's context holds; the message gives both numbers."""


class NonFiniteLogitsError(LmGenerateError, ValueError):
    """The model returned NaN or +inf, so there is no distribution to draw from."""


class ConstraintError(LmGenerateError, ValueError):
    """A regular expression or JSON schema that no token can go on with, or that is too costly to follow."""


class ModelSourceError(LmGenerateError, ValueError):
    """A path that holds no model that can be loaded; the message names the path and what is missing."""


class TokenizerMismatchError(LmGenerateError, ValueError):
    """A tokenizer that is not the one the model was trained with."""


class NoRunError(LmGenerateError, ValueError):
    """No run with a checkpoint to load; the message names the command that makes one."""


class ExportError(LmGenerateError, ValueError):
    """A model that the asked-for format cannot hold, or a file that cannot be written."""
