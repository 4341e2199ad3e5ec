"""What lm_core raises: one base class, one subclass for each kind of mistake.

Every message says what was wanted, what came, and what to do. All but the base are also
`ValueError`s, so code that knows nothing of this package can still catch them.
"""


class LmCoreError(Exception):
    """The base of every error that lm_core raises on purpose."""


class ConfigError(LmCoreError, ValueError):
    """A setting that makes no sense, alone or beside another one."""


class ShapeError(LmCoreError, ValueError):
    """A tensor whose shape, dtype or ids do not fit; the message names the argument."""


class ModelFolderError(LmCoreError, ValueError):
    """A model folder that cannot be read or written as asked; the message names the folder or file."""


class DamagedFileError(LmCoreError, ValueError):
    """A file whose bytes are not the ones that were written; the message always names the file."""
