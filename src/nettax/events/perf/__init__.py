"""perf.data, as `perf record` writes it: the binary file, without perf."""

from nettax.events.perf.reader import MAGICS, PerfData

__all__ = ["MAGICS", "PerfData"]
