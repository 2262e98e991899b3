"""Load on servers: the engines that no other tool has, and what came back, timed."""

from __future__ import annotations
