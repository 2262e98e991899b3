"""Reference servers to load: epoll, a thread per connection, a thread pool; echo and HTTP/1.1.

::

    with serve("epoll", protocol="http") as server:
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/")
        print(server.stats().requests)
"""

from __future__ import annotations

from nettax.servers.server import KeepAlive, Model, Protocol, Server, serve
from nettax.servers.stats import ServerErrors, ServerStats

__all__ = ["KeepAlive", "Model", "Protocol", "Server", "ServerErrors", "ServerStats", "serve"]
