"""The ledger's state machine over recorded events.

It shares no code with the programs in the kernel, nor with nettax.ledger: each is the other's
oracle. What it means is in docs/ledger.md; it is written in C (native/replay*.c).
"""

from nettax.events.replay.accounts import KTHREADS, Accounts, CpuAccount, TaskAccount
from nettax.events.replay.replay import Replay, replay

__all__ = ["KTHREADS", "Accounts", "CpuAccount", "Replay", "TaskAccount", "replay"]
