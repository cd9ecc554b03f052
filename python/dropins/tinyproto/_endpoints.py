"""The two ends: a server with its listeners, and a client with its connections."""

import contextlib
import inspect
import logging
import select
import socket
import threading
import time
import uuid
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Type, Union

import msock

from ._connection import (
    CLOSING,
    PASS,
    SC_CONLIMIT,
    CollectedLink,
    Link,
    TinyProtoConnection,
    TinyProtoConnectionDetails,
    TinyProtoError,
    TinyProtoPlugin,
)

logger = logging.getLogger("tinyproto")

Plugins = Union[Type[TinyProtoPlugin], TinyProtoPlugin, List[Any]]


class Connections(Dict[uuid.UUID, TinyProtoConnection]):
    """A dict by UUIDs, and for older programs a list: indexed by 0, 1, ..., and iterated over. What is
    iterated over are the connections; each is its own key too, so a loop over keys works as well.
    keys(), values() and items() are those of a dict, as they are at that time."""

    def __getitem__(self, key: Any) -> TinyProtoConnection:
        if isinstance(key, TinyProtoConnection):
            return key
        if isinstance(key, int):
            found: TinyProtoConnection = self.values()[key]
            return found
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or any(conn_o is key for conn_o in self.values())

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self.values()))

    def keys(self) -> Any:
        return list(super().keys())

    def items(self) -> Any:
        return list(super().items())

    def values(self) -> Any:
        return list(super().values())


def parameters(hook: Callable[..., Any]) -> int:
    return len(inspect.signature(hook).parameters)


class Endpoint:
    """What a server and a client have in common."""

    def __init__(self) -> None:
        self.shutdown = False
        self.timeout = 2.0
        self.connection_limit = 1024
        self.active_connections = Connections()
        self._handler: Type[TinyProtoConnection] = TinyProtoConnection
        self._plugins: List[Any] = []

    # --- hooks ---

    def pre_loop(self) -> None:
        """Called first."""

    def loop_pass(self) -> None:
        """Called in every pass of the loop, at least ten times a second."""

    def post_loop(self) -> None:
        """Called last."""

    def conn_init(self, conn_id: uuid.UUID, conn_o: TinyProtoConnection) -> None:
        """Called with each new connection; with conn_o alone where it has one parameter."""

    def conn_shutdown(self, conn_id: uuid.UUID, conn_o: TinyProtoConnection) -> None:
        """Called when a connection has ended, likewise."""

    # --- options ---

    def set_conn_handler(self, handler: Type[TinyProtoConnection]) -> None:
        """Choose the class of connections."""
        if not (isinstance(handler, type) and issubclass(handler, TinyProtoConnection)):
            raise ValueError("a handler is a subclass of TinyProtoConnection")
        self._handler = handler

    def register_connection_plugin(self, plugin: Plugins) -> None:
        """Give each new connection a plugin, or a list of them."""
        self._plugins.extend(plugin if isinstance(plugin, (list, tuple)) else [plugin])

    def set_timeout(self, seconds: float) -> None:
        """How long to wait for a connection, an answer, or a message."""
        self.timeout = seconds

    # --- connections ---

    def _hook(self, name: str, conn_id: uuid.UUID, conn_o: TinyProtoConnection) -> None:
        hook = getattr(self, name)
        try:
            if parameters(hook) == 1:
                hook(conn_o)
            else:
                hook(conn_id, conn_o)
        except Exception:
            logger.exception("%s has failed", name)

    def _add(self, link: Any) -> "tuple[uuid.UUID, TinyProtoConnection]":
        conn_id = uuid.uuid4()
        conn_o = self._handler.__new__(self._handler)
        conn_o._set_up(link, self.timeout)
        conn_o.__init__()  # type: ignore[misc]
        for plugin in self._plugins:
            conn_o.register_plugin(plugin)
        self.active_connections[conn_id] = conn_o
        self._hook("conn_init", conn_id, conn_o)
        conn_o._start(lambda: self._remove(conn_id))
        return conn_id, conn_o

    def _remove(self, conn_id: uuid.UUID) -> None:
        conn_o = self.active_connections.pop(conn_id, None)
        if conn_o is not None:
            self._hook("conn_shutdown", conn_id, conn_o)

    def _end_all(self) -> None:
        for conn_o in self.active_connections:
            conn_o.shutdown = True
        for conn_o in self.active_connections:
            if conn_o._thread not in (None, threading.current_thread()):
                conn_o._thread.join(self.timeout)


def listen(address: TinyProtoConnectionDetails) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family, backlog=128)
    except OSError as error:
        raise TinyProtoError(f"{address.host}:{address.port}: {error}") from error
    listener.setblocking(False)
    return listener


def turn_away(sock: socket.socket) -> None:
    """Says that there are too many connections; it has come when the peer says something or ends."""
    with sock, contextlib.suppress(OSError):
        sock.settimeout(CLOSING)
        sock.sendall(bytes([SC_CONLIMIT]))
        sock.shutdown(socket.SHUT_WR)
        sock.recv(4096)


class TinyProtoServer(Endpoint):
    """A server: TinyProtoServer() with add_addr(), or with a list of addresses and a handler."""

    def __init__(
        self,
        addresses: Iterable[TinyProtoConnectionDetails] = (),
        connection_handler: Optional[Type[TinyProtoConnection]] = None,
    ) -> None:
        super().__init__()
        self._addresses = list(addresses)
        if connection_handler is not None:
            self.set_conn_handler(connection_handler)

    def add_addr(self, host: str, port: int) -> None:
        """Listen there too."""
        self._addresses.append(TinyProtoConnectionDetails(host, port))

    def start(self) -> None:
        """Serve until shutdown is set."""
        with contextlib.ExitStack() as listening:
            listeners = [listening.enter_context(listen(address)) for address in self._addresses]
            self.pre_loop()
            self._loop(listeners)
        self._end_all()
        self.post_loop()

    def _loop(self, listeners: List[socket.socket]) -> None:
        ready = select.poll()
        by_fd = {listener.fileno(): listener for listener in listeners}
        for fd in by_fd:
            ready.register(fd, select.POLLIN)
        next_pass = time.monotonic()
        while not self.shutdown:
            now = time.monotonic()
            if now >= next_pass:
                self.loop_pass()
                next_pass = now + PASS
            for fd, _ in ready.poll(max(0.0, next_pass - now) * 1000):
                self._accept(by_fd[fd])

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except OSError as error:  # it has gone again, or there are no descriptors
            logger.warning("a connection cannot be accepted: %s", error)
            time.sleep(PASS)
            return
        kind = Link if self._handler._needs_thread() else CollectedLink
        try:
            if len(self.active_connections) >= self.connection_limit:
                threading.Thread(target=turn_away, args=(sock,), daemon=True).start()
            else:
                self._add(kind(sock, "server", self.timeout))
        except Exception:
            logger.exception("the connection of %s:%s cannot be made", *address[:2])
            sock.close()


class TinyProtoClient(Endpoint):
    """A client: connections to any number of servers."""

    def __init__(self, timeout: float = 2.0) -> None:
        super().__init__()
        self.timeout = timeout

    def connect_to(
        self, host: Union[str, TinyProtoConnectionDetails], port: Optional[int] = None
    ) -> uuid.UUID:
        """Connect, with host and port or with TinyProtoConnectionDetails. Returns the key of the new
        connection in active_connections."""
        if isinstance(host, str):
            if port is None:
                raise TypeError("connect_to() takes a host and a port")
            host = TinyProtoConnectionDetails(host, port)
        if len(self.active_connections) >= self.connection_limit:
            raise TinyProtoError("there are too many connections")
        try:
            sock = socket.create_connection((host.host, host.port), self.timeout)
            link = Link(sock, "client", self.timeout)
        except (OSError, UnicodeError, msock.Error) as error:  # a name may be none
            raise TinyProtoError(str(error)) from error
        return self._add(link)[0]

    def start(self) -> None:
        """Run the hooks of the client until shutdown is set. Connections go on without it."""
        self.pre_loop()
        while not self.shutdown:
            self.loop_pass()
            time.sleep(PASS)
        self._end_all()
        self.post_loop()
