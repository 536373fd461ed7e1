"""Python without a network: put this folder on ``PYTHONPATH``, and nothing but this computer's loopback is reached."""

import socket
from typing import Any

_connect = socket.socket.connect
_lookup = socket.getaddrinfo
_HERE = {"127.0.0.1", "::1", "localhost"}


def _checked(self: socket.socket, address: Any) -> None:
    if isinstance(address, tuple) and str(address[0]) not in _HERE:
        raise OSError(f"the network is off: {address[0]}")
    _connect(self, address)


def _found(host: Any, *more: Any, **named: Any) -> Any:
    if host is not None and (host.decode() if isinstance(host, bytes) else host) not in _HERE:
        raise OSError(f"the network is off: {host}")
    return _lookup(host, *more, **named)


socket.socket.connect = _checked  # type: ignore[assignment,method-assign]
socket.getaddrinfo = _found
