"""A client that several threads use, as programs use a socket: one waits for what comes while another
one sends. Nobody waits for the network with the lock, so nobody waits for the lock for long."""

import select
import threading
import time
from typing import Optional

from ._msock import Client
from .errors import Unreachable, UsageError

LOOK_EVERY = 0.25  # seconds: a connection that another thread has closed is noticed


class SharedClient:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._fd = client.fileno()
        self._poll.register(self._fd, select.POLLIN)
        self._kept: Optional[bytes] = None  # what wait() has found

    def wait(self, timeout: float) -> bool:
        """Is there a message, or does one come in time? It stays for receive()."""
        if self._kept is None:
            self._kept = self._receive(timeout)
        return self._kept is not None

    def receive(self, timeout: float) -> Optional[bytes]:
        """The next message, or None if it does not come in time. Raises when the connection ends."""
        if self._kept is not None:
            message, self._kept = self._kept, None
            return message
        return self._receive(timeout)

    def _receive(self, timeout: float) -> Optional[bytes]:
        until: Optional[float] = None
        while True:
            with self._lock:
                if self._client.closed:
                    raise Unreachable("the connection was closed")
                message = self._client.receive(0, default=None)
            if message is not None:
                return message
            now = time.monotonic()
            until = now + timeout if until is None else until
            if now >= until:
                return None
            self._poll.poll(1000 * min(until - now, LOOK_EVERY))

    def send(self, data: bytes) -> None:
        with self._lock:
            if self._client.closed:
                raise Unreachable("the connection was closed")
            self._client.send(data)

    def close(self, timeout: Optional[float] = None) -> None:
        with self._lock:
            self._client.close(timeout)
