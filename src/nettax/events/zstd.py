"""Decompression by the system's libzstd: part of every Debian and Ubuntu, dpkg needs it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from nettax.errors import MissingFeature, NettaxError

__all__ = ["ZstdStream"]


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer: zstd.h."""

    _fields_ = (("at", ctypes.c_void_p), ("size", ctypes.c_size_t), ("position", ctypes.c_size_t))


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        raise MissingFeature(
            "this recording is compressed by zstd and libzstd is not there: apt install libzstd1"
        ) from None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, result, arguments in (
        ("ZSTD_createDStream", pointer, []),
        ("ZSTD_freeDStream", size, [pointer]),
        ("ZSTD_DCtx_setParameter", size, [pointer, ctypes.c_int, ctypes.c_int]),
        ("ZSTD_decompressStream", size, [pointer, pointer, pointer]),
        ("ZSTD_isError", ctypes.c_uint, [size]),
        ("ZSTD_getErrorName", ctypes.c_char_p, [size]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class ZstdStream:
    """One stream, fed in pieces. A context manager."""

    OUT = 1 << 18
    _WINDOW_LOG_MAX, _MOST = 100, 27  # ZSTD_d_windowLogMax; 128 MiB, zstd's own default limit

    def __init__(self) -> None:
        """Begin.

        :raises MissingFeature: libzstd is not on this host
        """
        self._zstd = _library()
        self._stream = self._zstd.ZSTD_createDStream()
        if not self._stream:
            raise NettaxError("no memory to decompress in")
        self._zstd.ZSTD_DCtx_setParameter(self._stream, self._WINDOW_LOG_MAX, self._MOST)
        self._out = ctypes.create_string_buffer(self.OUT)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces of what these bytes decompress to, of at most `OUT` bytes each.

        :raises NettaxError: they are corrupt
        """
        kept = ctypes.create_string_buffer(data, len(data))
        source = _Buffer(ctypes.addressof(kept), len(data), 0)
        while True:
            target = _Buffer(ctypes.addressof(self._out), self.OUT, 0)
            code = self._zstd.ZSTD_decompressStream(
                self._stream, ctypes.byref(target), ctypes.byref(source)
            )
            if self._zstd.ZSTD_isError(code):
                raise NettaxError(self._zstd.ZSTD_getErrorName(code).decode())
            if target.position:
                yield self._out.raw[: target.position]
            if source.position == source.size and target.position < self.OUT:
                return

    def close(self) -> None:
        """Free it. May be called twice."""
        if self._stream:
            self._zstd.ZSTD_freeDStream(self._stream)
            self._stream = None

    def __enter__(self) -> ZstdStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
