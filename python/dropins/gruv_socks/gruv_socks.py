"""Sockets that carry messages: each is a frame, 4 bytes of length and then the bytes.

Its peers are msockd's frame:// (or auto://), libmsock, and the library whose interface this is.
"""

import logging
import socket
import threading
import time
from typing import Any, Callable, Optional, Tuple, Union

import msock
from msock._msock import SharedClient

SOCK_ERROR = b"\x01"
SOCK_TIMEOUT = b"\x00"

CLOSING = 0.1  # seconds for the peer to read what was written last
PAUSE = 0.1  # seconds, where there is no descriptor or no thread for another connection

TEST_MESSAGE = b"If you see this message, that means gruv_socks is working!"

logger = logging.getLogger("gruv_socks")


class Socket:
    """A connection. One thread may read while another one writes."""

    def __init__(
        self, sock: Optional[socket.socket] = None, timeout: float = 60, debug: bool = False
    ) -> None:
        self.timeout = timeout
        self.debug = debug
        self._client: Optional[SharedClient] = None
        if sock is not None:
            self._attach(sock)

    def __str__(self) -> str:
        return f"gruv_socks.Socket(timeout={self.timeout}, debug={self.debug})"

    def __add__(self, data: Union[bytes, str]) -> bool:
        return self.write(data)

    def __del__(self) -> None:
        self.disconnect()

    def _say(self, text: str, *arguments: Any) -> None:
        if self.debug:
            logger.warning(text, *arguments)

    def _attach(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        self._writing = threading.Lock()
        self._client = SharedClient("frame://attached", sock=sock, timeout=self.timeout)

    def connect(self, host: str, port: int, timeout: float = 10) -> bool:
        """Connect. False if that fails."""
        self.disconnect()
        try:
            sock = socket.create_connection((host, port), timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._attach(sock)
        except (OSError, UnicodeError, msock.Error) as error:  # a name may be none
            self._say("%s:%s: %s", host, port, error)
            return False
        return True

    def read(self, timeout_override: float = 0) -> Tuple[bool, bytes]:
        """The next message: (True, its bytes); else (False, SOCK_TIMEOUT or SOCK_ERROR)."""
        client = self._client  # another thread may disconnect()
        if client is None:
            return False, SOCK_ERROR
        try:
            data = client.take(timeout_override or self.timeout)
        except msock.Error as error:
            self._say("read: %s", error)
            return False, SOCK_ERROR
        return (True, data) if data is not None else (False, SOCK_TIMEOUT)

    def write(self, data: Union[bytes, str]) -> bool:
        """Send a message. False if that fails."""
        client = self._client
        if client is None:
            return False
        try:
            with self._writing:
                client.put(data)
        except msock.Error as error:
            self._say("write: %s", error)
            return False
        return True

    def _echo(self) -> None:
        """As read() and write() in a loop."""
        client = self._client
        if client is None:
            return
        try:
            client.echo(self.timeout)
        except msock.Error as error:
            self._say("echo: %s", error)

    def disconnect(self) -> None:
        """Close the connection."""
        client = getattr(self, "_client", None)
        self._client = None
        if client is not None:
            client.close(CLOSING)


Callback = Callable[[Tuple[str, int], Socket], Any]


class ServerBase:
    """A server: each connection has a thread, in which the callback has the socket."""

    def __init__(self, debug: bool = False) -> None:
        self.debug = debug
        self._listener: Optional[socket.socket] = None
        self._thread: Optional[threading.Thread] = None

    def start(
        self, callback: Callback, port: int, address: str = "0.0.0.0", blocking: bool = False
    ) -> None:
        """Listen, and call callback((host, port), socket) for each connection.

        The socket closes when the callback returns and nothing else holds it. With blocking this
        returns after stop().
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family, backlog=128)
        arguments = (self._listener, callback)
        if blocking:
            self._accept(*arguments)
        else:
            self._thread = threading.Thread(target=self._accept, args=arguments, daemon=True)
            self._thread.start()

    def _accept(self, listener: socket.socket, callback: Callback) -> None:
        while True:
            try:
                sock, address = listener.accept()
            except OSError as error:
                if self._listener is not listener:
                    return
                self._pause(error)
                continue
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(
                    target=self._serve, args=(callback, address[:2], sock), daemon=True
                ).start()
            except (OSError, RuntimeError) as error:  # the latter: there are no threads
                sock.close()
                self._pause(error)

    def _pause(self, error: Exception) -> None:
        logger.warning("a connection cannot be accepted: %s", error)
        time.sleep(PAUSE)

    def _serve(self, callback: Callback, address: Tuple[str, int], sock: socket.socket) -> None:
        try:
            callback(address, Socket(sock, debug=self.debug))
        except Exception:
            logger.exception("the callback for %s:%s has failed", *address)

    def stop(self) -> None:
        """Take no more connections. Those that there are go on until their callbacks return."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None


def echo_callback(addr: Tuple[str, int], sock: Socket) -> None:
    """A callback that sends back whatever comes."""
    if type(sock) is Socket:
        sock._echo()
        return
    good, data = sock.read()
    while good and sock.write(data):
        good, data = sock.read()


def server_test() -> bytes:
    """Sends a message through a server of its own, and returns what came back."""
    server = ServerBase()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server.start(echo_callback, port, "127.0.0.1")
    sock = Socket()
    try:
        if not sock.connect("127.0.0.1", port) or not sock.write(TEST_MESSAGE):
            return SOCK_ERROR
        return sock.read()[1]
    finally:
        sock.disconnect()
        server.stop()
