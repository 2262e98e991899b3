"""Counters and sockets of a namespace, from files with known answers; and this process's own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from nettax.kernel import cpu_stat, net_counters, tcp_sockets
from nettax.kernel.cpu_stat import CpuUsage

SNMP = """\
Ip: Forwarding DefaultTTL
Ip: 2 64
Tcp: RtoAlgorithm MaxConn PassiveOpens
Tcp: 1 -1 42
"""
NETSTAT = """\
TcpExt: ListenOverflows ListenDrops
TcpExt: 7 9
"""
SOCKSTAT = "sockets: used 29\nTCP: inuse 5 orphan 0 tw 13 alloc 7 mem 1\n"
HEAD = "  sl local remote st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode"
TCP = f"""{HEAD}
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 100 1
   1: 0100007F:1F90 0100007F:D431 01 0000002A:00000000 01:00000014 00000000     0        0 101 1
   2: 0100007F:D431 0100007F:1F90 01 00000000:00000011 00:00000000 00000000     0        0 102 1
"""


def files(directory: Path) -> Path:
    net = directory / "7" / "net"
    net.mkdir(parents=True)
    for name, text in (("snmp", SNMP), ("netstat", NETSTAT), ("sockstat", SOCKSTAT), ("tcp", TCP)):
        (net / name).write_text(text)
    return directory


def test_counters(tmp_path: Path) -> None:
    found = net_counters.counters(7, files(tmp_path))
    assert found["Tcp.PassiveOpens"] == 42
    assert (found["TcpExt.ListenOverflows"], found["TcpExt.ListenDrops"]) == (7, 9)
    assert found["Tcp.MaxConn"] == -1
    assert net_counters.sockstat(7, tmp_path)["TCP.tw"] == 13
    assert net_counters.difference({"a": 5, "new": 1}, {"a": 3}) == {"a": 2}


def test_sockets(tmp_path: Path) -> None:
    listening, server, client = tcp_sockets.sockets("tcp", 7, files(tmp_path))
    assert listening.listens and listening.receive_queue == 3 and listening.port == 8080
    assert server.established and server.send_queue == 42 and server.peer_port == 0xD431
    assert client.port == 0xD431 and client.receive_queue == 17 and client.inode == 102
    assert tcp_sockets.takes(listening, "tcp", 8080) and not tcp_sockets.takes(server, "tcp", 8080)


def test_this_process_holds_what_it_listens_on() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        port = listening.getsockname()[1]
        inodes = {s.inode for s in tcp_sockets.sockets() if tcp_sockets.takes(s, "tcp", port)}
        assert inodes == {os.fstat(listening.fileno()).st_ino}
        assert os.getpid() in tcp_sockets.holders(frozenset(inodes))
    with socket.socket(type=socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert any(tcp_sockets.takes(s, "udp", port) for s in tcp_sockets.sockets("udp"))


def test_cpu_stat_of_both_versions(tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    one.mkdir()
    text = "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_throttled 2\nthrottled_usec 5\n"
    (two / "cpu.stat").write_text(text)
    (one / "cpu.stat").write_text("nr_periods 9\nnr_throttled 3\nthrottled_time 7000\n")
    assert cpu_stat.usage(two) == CpuUsage(30_000, 10_000, 20_000)
    assert cpu_stat.usage(two) - cpu_stat.usage(two) == CpuUsage(0, 0, 0)
    assert cpu_stat.throttled_ns((one, two)) == 7000
    assert cpu_stat.throttled_ns((two,)) == 5000
    assert cpu_stat.throttled_ns((tmp_path / "gone",)) == 0
