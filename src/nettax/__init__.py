"""nettax: the CPU bill of networking: who paid, for whom, and what it cost."""

__version__ = "0.1.0"
