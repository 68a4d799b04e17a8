"""What becomes of reading a file that a run logged, where it is not there or not whole."""

from __future__ import annotations

import zipfile
import zlib

from mlflow.exceptions import MlflowException

# Of a folder that was copied in part, or by hand: the file is away, cut short, or another.
UNREADABLE = (
    MlflowException,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
