"""A part of a recording: some CPUs, some of its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from nettax.events.model import EVERY_CPU, EventArray, Recording

__all__ = ["Window"]


class Window(Recording):
    """A recording of which the rest is not shown; what it knows beside events is the whole's."""

    def __init__(
        self,
        whole: Recording,
        cpus: Iterable[int] | None = None,
        since_ns: int = 0,
        until_ns: int | None = None,
    ) -> None:
        """`since_ns`, `until_ns`: from the first event on; None: all CPUs, to the end.

        Reading stops there, and damage behind it is not found.
        """
        self._whole = whole
        self._cpus = None if cpus is None else np.array([*cpus, EVERY_CPU])
        self._since, self._until = since_ns, until_ns
        self.path, self.format, self.machine = whole.path, whole.format, whole.machine
        self.clock, self.kinds, self.vectors = whole.clock, whole.kinds, whole.vectors
        self.tables, self.damage = whole.tables, whole.damage

    @property
    def squeezed(self) -> Mapping[int, int] | None:  # type: ignore[override]
        """It is known of the recording only, so not of a part of its time."""
        found = self._whole.squeezed
        if found is None or self._since or self._until is not None:
            return None
        cpus = found if self._cpus is None else self._cpus.tolist()
        return {cpu: number for cpu, number in found.items() if cpu in cpus}

    def chunks(self) -> Iterator[EventArray]:
        """The events that belong to it."""
        zero: int | None = None
        for chunk in self._whole.chunks():
            if not len(chunk):
                continue
            zero = int(chunk["time_ns"][0]) if zero is None else zero
            first, last = self._places(chunk, zero)
            some = chunk[first:last]
            if self._cpus is not None:
                some = some[np.isin(some["cpu"], self._cpus)]
            if len(some):
                yield some
            if last < len(chunk):
                return

    def _places(self, chunk: EventArray, zero: int) -> tuple[int, int]:
        times = chunk["time_ns"]
        first = int(np.searchsorted(times, np.uint64(zero + self._since)))
        if self._until is None:
            return first, len(chunk)
        return first, int(np.searchsorted(times, np.uint64(zero + self._until)))

    def rows(self) -> Iterator[memoryview]:
        """The same as bytes."""
        for chunk in self.chunks():
            yield memoryview(chunk.tobytes())

    def close(self) -> None:
        """Close the whole."""
        self._whole.close()
