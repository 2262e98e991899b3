"""The ledger's state machine over recorded events, in whole arrays.

It shares no code with the programs in the kernel, nor with nettax.ledger: each is the other's
oracle. What it means is in docs/ledger.md.
"""

from nettax.events.replay.accounts import KTHREADS, CpuAccount, TaskAccount
from nettax.events.replay.replay import Accounts, Replay, replay

__all__ = ["KTHREADS", "Accounts", "CpuAccount", "Replay", "TaskAccount", "replay"]
