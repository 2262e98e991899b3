"""What can go wrong, as exceptions that know their exit code.

::

    NettaxError                 1   a run failed
    ├── UsageError              2   the request makes no sense
    └── Unsupported            77   this kernel or this user cannot do it
        ├── MissingFeature          the kernel lacks something
        └── MissingPrivilege        the user lacks a capability

Every message says what failed, why, and the exact fix, in one or two lines: the CLI prints
it as it is.
"""

from __future__ import annotations


class NettaxError(Exception):
    """Base of every error that nettax raises on purpose; the message is for the user."""

    exit_code = 1


class UsageError(NettaxError):
    """The request makes no sense: a CPU that does not exist, two options that exclude."""

    exit_code = 2


class Unsupported(NettaxError):
    """This host cannot do what was asked, and no other arguments would change that."""

    exit_code = 77


class MissingFeature(Unsupported):
    """The kernel lacks a feature (BTF, a tracepoint, a mounted file system)."""


class MissingPrivilege(Unsupported):
    """The process lacks a capability; the message names it and how to grant it."""
