"""The two ends: a server with its listeners, and a client with its connections."""

import inspect
import logging
import threading
import time
import uuid
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Type, Union

import msock

from ._connection import (
    CLOSING,
    PASS,
    ClientLink,
    ServerLink,
    TinyProtoConnection,
    TinyProtoConnectionDetails,
    TinyProtoError,
    TinyProtoPlugin,
    url_of,
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
        if conn_o._needs_thread():
            conn_o._start(lambda ended: self._remove(conn_id))
        return conn_id, conn_o

    def _remove(self, conn_id: uuid.UUID) -> None:
        conn_o = self.active_connections.pop(conn_id, None)
        if conn_o is not None:
            self._hook("conn_shutdown", conn_id, conn_o)

    def _end_all(self) -> None:
        for conn_id, conn_o in self.active_connections.items():
            conn_o.shutdown = True
            if conn_o._thread is None:
                conn_o._link.close()
                self._remove(conn_id)
        for _, conn_o in self.active_connections.items():
            if conn_o._thread is not threading.current_thread():
                conn_o._thread.join(self.timeout)


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
        urls = [url_of(address.host, address.port) for address in self._addresses]
        try:
            server = msock.Server(
                *urls, connections=self.connection_limit, timeout=self.timeout, idle_timeout=86400
            )
        except msock.Error as error:
            raise TinyProtoError(str(error)) from error
        with server:
            self.pre_loop()
            self._loop(server)
            self._end_all()
            server.drain(self._told_at_the_end, CLOSING)
            self.post_loop()

    def _loop(self, server: msock.Server) -> None:
        next_pass = time.monotonic()
        while not self.shutdown:
            now = time.monotonic()
            if now >= next_pass:
                self.loop_pass()
                next_pass = now + PASS
            for event in server.events(max(0.0, next_pass - now)) or []:
                if isinstance(event, msock.Message):
                    self._receive(event)
                elif event[1]:
                    self._opened(event[0])
                elif event[0].state is not None:
                    self._closed(*event[0].state)

    def _opened(self, connection: msock.Connection) -> None:
        try:
            connection.state = self._add(ServerLink(connection))
        except Exception:
            logger.exception("the connection of %s cannot be made", connection.peer)
            connection.disconnect()

    def _told_at_the_end(self, event: Any) -> None:
        if isinstance(event, msock.Message):
            event.commit()

    def _receive(self, message: msock.Message) -> None:
        data, connection = message.data, message.connection
        message.commit()
        if connection is not None and connection.state is not None:
            connection.state[1]._link.put(data)

    def _closed(self, conn_id: uuid.UUID, conn_o: TinyProtoConnection) -> None:
        assert isinstance(conn_o._link, ServerLink)
        conn_o._link.put(None)
        if conn_o._thread is None:
            conn_o.shutdown = True
            self._remove(conn_id)


class TinyProtoClient(Endpoint):
    """A client: connections to any number of servers."""

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
            link = ClientLink(host.host, host.port, self.timeout)
        except (OSError, msock.Error) as error:
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
