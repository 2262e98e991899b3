"""A network to experiment on: two namespaces, a veth pair, pinned flows."""

from __future__ import annotations

from nettax.lab.flow import TcpFlow, UdpFlow
from nettax.lab.testbed import Testbed

__all__ = ["TcpFlow", "Testbed", "UdpFlow"]
