"""The interface of minimalsockets on libmsock: verified transfers over msp, as to msockd's msp://.

Each packet is checked by a CRC-32 and each message by a SHA-256, and the last ACK means that the
receiving program has taken the message.
"""

import contextlib
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Optional, Tuple, Union

import msock
from msock._server import refuse_failed

Address = Tuple[str, int]


def url_of(address: Address, options: str = "") -> str:
    host, port = address[:2]
    host = host or "0.0.0.0"
    return f"msp://[{host}]:{port}{options}" if ":" in host else f"msp://{host}:{port}{options}"


class ServerSocket:
    """Receives at an address. The attributes may be changed before the first listen()."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.logging = False  # print what happens to standard error
        self.timeout = 2.0  # seconds of silence within a message
        self.connections = 10  # at a time
        self.reread_limit = 10  # packets of a message that does not tell its size
        self.reread_size = 2048  # bytes of a further packet
        self._server: Optional[msock.Server] = None

    def _log(self, level: int, text: Optional[str]) -> None:
        if self.logging:
            print(f"minimalsockets: {text}", file=sys.stderr)

    def _open(self) -> msock.Server:
        if self._server is None:
            options = f"?reread_limit={self.reread_limit}&packet_size={self.reread_size}"
            self._server = msock.Server(
                url_of(self.address, options),
                connections=self.connections,
                timeout=self.timeout,
                log=self._log,
            )
            self._log(2, f"listening on {self._server.addresses[0]}")
        return self._server

    def _taken(self, message: msock.Message) -> None:
        self._log(2, f"{len(message.data)} bytes from {message.peer}")

    def _receive(self, server: msock.Server) -> Optional[msock.Message]:
        """The next message; None once dispose() was called."""
        try:
            return server.receive()
        except msock.UsageError:
            if self._server is server:
                raise
            return None

    def listen(self) -> bytes:
        """Wait for the next successful transfer. Returns the message; of a file, its bytes."""
        message = self._receive(self._open())
        if message is None:
            raise ConnectionError("the server was stopped")
        data = message.data
        self._taken(message)
        message.commit()
        return data

    def threaded_listen(self, handler: Union[Callable[[bytes], Any], Any]) -> None:
        """Serve for ever. Each message goes to handler in a thread: a function of its bytes, or an
        object with entry(text). An exception in it refuses the message."""
        entry = getattr(handler, "entry", None)

        def handle(message: msock.Message) -> None:
            try:
                self._taken(message)
                if entry is not None:
                    entry(message.text)
                else:
                    handler(message.data)
                message.commit()
            except Exception:
                refuse_failed(message, "the handler")

        server = self._open()
        with ThreadPoolExecutor(self.connections) as pool:
            while (message := self._receive(server)) is not None:
                with contextlib.suppress(RuntimeError):  # there are no threads: it waits for one
                    pool.submit(handle, message)

    def dispose(self) -> None:
        """Stop listening: threaded_listen() returns."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()
            server.close()


class Socket:
    """Sends to an address; it connects with the first message."""

    def __init__(self) -> None:
        self.encryption_logic: Optional[Callable[[bytes], bytes]] = None
        self._address: Optional[Address] = None
        self._client: Optional[msock.Client] = None
        self._encrypts = False
        self._lock = threading.Lock()

    def connect(self, address: Address) -> None:
        """Choose where to send to."""
        self.dispose()
        self._address = address

    def _encrypt(self, data: bytes) -> bytes:
        return self.encryption_logic(data) if self.encryption_logic is not None else data

    def _open(self) -> msock.Client:
        encrypts = self.encryption_logic is not None
        if self._client is not None and encrypts != self._encrypts:
            self.dispose()
        if self._client is None:
            if self._address is None:
                raise ConnectionError("connect() comes first")
            encode = self._encrypt if encrypts else None
            self._client = msock.Client(url_of(self._address), encode=encode)
            self._encrypts = encrypts
        return self._client

    def _send(self, call: Callable[[msock.Client], Any]) -> None:
        with self._lock:
            try:
                call(self._open())
            except msock.Refused as error:
                kind = ValueError if error.code == "bad-json" else ConnectionError
                raise kind(str(error)) from error

    def send(self, data: Union[bytes, str]) -> None:
        """Send a message; returns when the last ACK is there."""
        self._send(lambda client: client.send(data))

    def send_json(self, value: Any) -> None:
        """Send an object as a JSON document. What is encrypted is none: it goes as a message."""
        try:
            text = json.dumps(value, allow_nan=False)
        except TypeError as error:
            raise ValueError(str(error)) from error
        if self.encryption_logic is not None:
            self._send(lambda client: client.send(text))
        else:
            self._send(lambda client: client.send_json(value))

    def send_file(self, path: Any) -> None:
        """Send a file under its own name."""
        self._send(lambda client: client.send_file(path))

    def dispose(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def __del__(self) -> None:
        if getattr(self, "_client", None) is not None:
            self.dispose()
