"""Stock kernels under QEMU, in software: a second kernel to measure on, and to try modules in."""

from __future__ import annotations

from nettax.lab.vm.build import Module
from nettax.lab.vm.vm import Result, Vm

__all__ = ["Module", "Result", "Vm"]
