"""Documents in a column of a Parquet file, the layout of most datasets on the Hugging Face Hub; pyarrow reads it, an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from lm_train.errors import SourceError

_ROWS = 256  # read at once


def parquet_documents(path: Path | str, name: str, field: str) -> Iterator[str]:
    """The text of each row, in order. Raises SourceError, with the row where there is one, for anything that is not text."""
    if importlib.util.find_spec("pyarrow") is None:
        raise SourceError(f"{name}: pyarrow is not installed; pip install 'lm-train[parquet]'")
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            if field not in columns:
                raise SourceError(
                    f'{name}: wanted text in a column "{field}", got {", ".join(columns)}; name the column that holds it (lm-train prepare --field)'
                )
            for rows in file.iter_batches(batch_size=_ROWS, columns=[field]):
                for text in rows.column(0).to_pylist():
                    number += 1
                    if not isinstance(text, str):
                        raise SourceError(
                            f'{name}, row {number:,}: wanted text in the column "{field}", got {type(text).__name__}; '
                            "name the column that holds the text (lm-train prepare --field)"
                        )
                    yield text
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        where = f", after row {number:,}" if number else ""
        raise SourceError(f"{name} cannot be read as Parquet{where}: {str(error).splitlines()[0]}") from error
