"""The door to the C parts: one shared library, compiled at install from the sources beside it."""

from __future__ import annotations

import ctypes
from functools import cache

from nettax.errors import NettaxError

PATH = f"{__path__[0]}/libnettax.so"


@cache
def library() -> ctypes.CDLL:
    """Load the native library; callers declare the prototypes of the functions that they use.

    Its functions leave their error in ``ctypes.get_errno()``.

    :raises NettaxError: the library is missing or was built for another machine.
    """
    try:
        return ctypes.CDLL(PATH, use_errno=True)
    except OSError as error:
        raise NettaxError(
            f"cannot load nettax's native library: {error}.\n"
            "It is compiled at install: run `pip install .` (needs cc) in nettax's source tree."
        ) from error
