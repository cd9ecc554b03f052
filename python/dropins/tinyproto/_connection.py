"""One connection: a thread with hooks, and messages in both directions."""

import logging
import queue
import socket
import threading
import time
from typing import Callable, List, NamedTuple, Optional, Tuple, Type, Union

import msock
from msock._msock import SharedClient

SC_OK = 0xFF
SC_GENERIC_ERROR = 0x00
SC_CONLIMIT = 0xFE
SC_CONFLICT = 0xFD
MSG_MAX_SIZE = 0xF0FFFFFF

CLOSING = 0.2  # seconds for what was transmitted last
PASS = 0.1  # seconds: loop_pass is called at least ten times a second

logger = logging.getLogger("tinyproto")


class TinyProtoError(Exception):
    """A transmission or a connection has failed."""


class TinyProtoConnectionDetails(NamedTuple):
    """Where to listen or to connect to."""

    host: str
    port: int


class TinyProtoPlugin:
    """Changes messages on their way: out with msg_transmit, in with msg_receive."""

    def msg_transmit(self, msg: bytes) -> bytes:
        return msg

    def msg_receive(self, msg: bytes) -> bytes:
        return msg


class PeerName:
    """What is left of a socket: whose it is."""

    def __init__(self, peername: Tuple[str, int]) -> None:
        self._peername = peername

    def getpeername(self) -> Tuple[str, int]:
        return self._peername


class Link:
    """What a connection sends with and gets its messages from."""

    def __init__(self, sock: socket.socket, role: str, timeout: float) -> None:
        self.peername: Tuple[str, int] = sock.getpeername()[:2]
        self._kept: Optional[bytes] = None  # what wait() has found
        self._sending = threading.Lock()
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        url = f"tinyproto://attached?role={role}"
        self._client = SharedClient(url, sock=sock, timeout=timeout)
        self.take = self._client.take
        self._put = self._client.put if role == "client" else self._client.put_ahead

    def next(self, timeout: float) -> Optional[bytes]:
        """The next message, or None if it does not come in time. Raises when the connection ends."""
        return self.take(timeout)

    def send(self, data: bytes) -> None:
        with self._sending:
            self._put(data)

    def close(self) -> None:
        self._client.finish(CLOSING)
        self._client.close(CLOSING)

    def wait(self, timeout: float) -> bool:
        """Is there a message, or does one come in time? It stays for receive()."""
        if self._kept is None:
            self._kept = self.next(timeout)
        return self._kept is not None

    def receive(self, timeout: float) -> Optional[bytes]:
        if self._kept is None:
            return self.next(timeout)
        data, self._kept = self._kept, None
        return data


class CollectedLink(Link):
    """Of a server's connection without hooks: a thread takes what comes, until somebody wants it."""

    def __init__(self, sock: socket.socket, role: str, timeout: float) -> None:
        super().__init__(sock, role, timeout)
        self._messages: "queue.SimpleQueue[Optional[bytes]]" = queue.SimpleQueue()  # None: the end

    def collect(self) -> None:
        """For a pass."""
        try:
            data = self.take(PASS)
        except msock.Error:
            self._messages.put(None)
            raise
        if data is not None:
            self._messages.put(data)

    def next(self, timeout: float) -> Optional[bytes]:
        try:
            data = self._messages.get(timeout=timeout)
        except queue.Empty:
            return None
        if data is None:
            self._messages.put(None)
            raise msock.Unreachable("the connection has ended")
        return data


class TinyProtoConnection:
    """A connection. Its hooks run in a thread of its own, unless none of them is overridden."""

    def __init__(self) -> None:
        """For programs that have one of their own: it has no arguments."""

    def _set_up(self, link: Link, timeout: float) -> None:
        self._shutdown = False
        self._ended: Optional[Callable[[], None]] = None  # of one without a thread
        self.timeout = timeout
        self.peername_details = TinyProtoConnectionDetails(*link.peername)
        self.socket_o = PeerName(link.peername)
        self._link = link
        self._plugins: List[TinyProtoPlugin] = []
        self._thread: Optional[threading.Thread] = None

    @property
    def shutdown(self) -> bool:
        """True ends the connection: one without a thread at once."""
        return self._shutdown

    @shutdown.setter
    def shutdown(self, value: bool) -> None:
        self._shutdown = value
        if value and self._ended is not None:
            ended, self._ended = self._ended, None
            self._end(ended)

    # --- hooks ---

    def pre_loop(self) -> None:
        """Called first."""

    def loop_pass(self) -> None:
        """Called in every pass of the loop, at least ten times a second."""

    def post_loop(self) -> None:
        """Called last."""

    def transmission_received(self, msg: bytes) -> None:
        """Called with each message. Without it, messages are for receive()."""

    # --- for hooks and programs ---

    def register_plugin(self, plugin: Union[TinyProtoPlugin, Type[TinyProtoPlugin]]) -> None:
        """Have messages changed on their way; the last plugin is the outermost one."""
        self._plugins.append(plugin() if isinstance(plugin, type) else plugin)

    def transmit(self, msg: Union[bytes, bytearray]) -> None:
        """Send a message. TinyProtoError if that fails."""
        data = msg if type(msg) is bytes else bytes(memoryview(msg))
        for plugin in self._plugins:
            data = plugin.msg_transmit(data)
        try:
            self._link.send(data)
        except msock.Error as error:
            self.shutdown = True
            raise TinyProtoError(str(error)) from error

    def receive(self) -> bytes:
        """Wait for the next message. TinyProtoError if none comes within the timeout, or the
        connection has ended."""
        msg = self._receive(self.timeout)
        if msg is None:
            raise TinyProtoError("no message came in time")
        return msg

    def _receive(self, timeout: float) -> Optional[bytes]:
        try:
            data = self._link.receive(timeout)
        except msock.Error as error:
            self.shutdown = True
            raise TinyProtoError(str(error)) from error
        if data is None:
            return None
        for plugin in reversed(self._plugins):
            data = plugin.msg_receive(data)
        return data

    def is_alive(self) -> bool:
        """True until the connection has ended."""
        return not self.shutdown and (self._thread is None or self._thread.is_alive())

    # --- the thread ---

    @classmethod
    def _overrides(cls, *hooks: str) -> bool:
        return any(getattr(cls, hook) is not getattr(TinyProtoConnection, hook) for hook in hooks)

    @classmethod
    def _needs_thread(cls) -> bool:
        return cls._overrides("pre_loop", "loop_pass", "post_loop", "transmission_received")

    def _start(self, ended: Callable[[], None]) -> None:
        if not self._needs_thread() and not isinstance(self._link, CollectedLink):
            self._ended = ended
            self.shutdown = self._shutdown  # conn_init may have set it
            return
        self._thread = threading.Thread(target=self._run, args=(ended,), daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # there are no threads
            self.shutdown = True
            self._end(ended)
            raise

    def _run(self, ended: Callable[[], None]) -> None:
        try:
            self.pre_loop()
            if isinstance(self._link, CollectedLink):
                while not self.shutdown:
                    self._link.collect()
            else:
                self._loop()
        except (TinyProtoError, msock.Error) as error:
            logger.debug("%s: %s", self.peername_details, error)
        except Exception:
            logger.exception("a hook of the connection of %s:%s has failed", *self.peername_details)
        finally:
            self.shutdown = True
            self._end(ended)

    def _loop(self) -> None:
        """A hook that takes its time delays the next pass; many messages do not."""
        has_receiver = self._overrides("transmission_received")
        next_pass = time.monotonic()
        while not self.shutdown:
            now = time.monotonic()
            if now >= next_pass:
                self.loop_pass()
                next_pass = now + PASS
            left = max(0.0, next_pass - now)
            if has_receiver:
                self._receive_one(left)
            else:
                self._leave_one(left)

    def _receive_one(self, timeout: float) -> None:
        msg = self._receive(timeout)
        if msg is not None:
            self.transmission_received(msg)
            self.loop_pass()

    def _leave_one(self, timeout: float) -> None:
        """A message is for receive() in loop_pass; one that nobody takes makes no haste."""
        until = time.monotonic() + timeout
        try:
            if not self._link.wait(timeout):
                return
            self.loop_pass()
            if self._link.wait(0):
                time.sleep(max(0.0, until - time.monotonic()))
        except msock.Error as error:
            raise TinyProtoError(str(error)) from error

    def _end(self, ended: Callable[[], None]) -> None:
        try:
            self.post_loop()
        except Exception:
            logger.exception("post_loop of %s:%s has failed", *self.peername_details)
        try:
            self._link.close()
        except msock.Error:
            pass
        ended()
