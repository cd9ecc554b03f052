"""Peers in plain Python, written from docs/protocol.md and from none of the project's code: msp,
tinyproto and frame, each as a server with a thread for each connection, and as a client. They make
every check that the protocol asks for, and end the connection where one fails. They also are what
the speed of the drop-ins is compared with (bench/python.py)."""

import contextlib
import hashlib
import json
import socket
import struct
import threading
import zlib
from typing import Any, Callable, List, Optional, Tuple

CRLF = b"\r\n"
SIZE_MAX = 256 << 20  # bytes of a message


class Wire:
    """A socket with a buffer in front of it."""

    def __init__(self, sock: socket.socket, timeout: float = 20) -> None:
        sock.settimeout(timeout)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.buffer = b""

    def exactly(self, n: int) -> bytes:
        while len(self.buffer) < n:
            chunk = self.sock.recv(max(65536, n - len(self.buffer)))
            if not chunk:
                raise EOFError
            self.buffer += chunk
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def line(self) -> bytes:
        while CRLF not in self.buffer:
            chunk = self.sock.recv(65536)
            if not chunk:
                raise EOFError
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(CRLF)
        return line

    def size(self) -> int:
        """Four bytes of size, as tinyproto and frame have them."""
        size: int = struct.unpack(">I", self.exactly(4))[0]
        if size > SIZE_MAX:
            raise ConnectionError("too large")
        return size

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def close(self) -> None:
        self.sock.close()


# --- frame: 4 bytes of length, then the bytes (section 4) ---


class Frame(Wire):
    def read(self) -> bytes:
        return self.exactly(self.size())

    def write(self, data: bytes) -> None:
        self.send(struct.pack(">I", len(data)) + data)

    greet = welcome = lambda self: None


# --- tinyproto: a size, one byte of consent, the payload (section 2) ---

OK = b"\xff"


class Tiny(Wire):
    """One side speaks at a time, as programs that answer do."""

    def greet(self) -> None:
        self.send(OK)
        self.expect_ok()

    def welcome(self) -> None:
        self.expect_ok()
        self.send(OK)

    def expect_ok(self) -> None:
        if self.exactly(1) != OK:
            raise ConnectionError("no OK")

    def read(self) -> bytes:
        size = self.size()
        self.send(OK)
        return self.exactly(size)

    def write(self, data: bytes) -> None:
        self.send(struct.pack(">I", len(data)))
        self.expect_ok()
        self.send(data)


# --- msp (section 1) ---

FIRST = struct.Struct(">Q2s32s2sI2s")
TRAILER = struct.Struct(">I2scBH")
GRANT = 16384


class Msp(Wire):
    greet = welcome = lambda self: None

    def send_message(self, kind: bytes, body: bytes, value: bytes = b"") -> None:
        """As a client: the packets, each after the answer to the one before, and the trailer."""
        digest = hashlib.sha256(body).digest()
        packet, rest = body[:1998], body[1998:]
        self.send(FIRST.pack(len(body), CRLF, digest, CRLF, zlib.crc32(packet), CRLF) + packet)
        while (answer := self.line()) != b"ACK":
            word, _, grant = answer.partition(b" ")
            if word != b"ACK":
                raise ConnectionError(answer)
            size = int(grant) - 6
            packet, rest = rest[:size], rest[size:]
            self.send(struct.pack(">I", zlib.crc32(packet)) + CRLF + packet)
        trailer = kind + b"\0" + struct.pack(">H", len(value)) + value
        self.send(struct.pack(">I", zlib.crc32(trailer)) + CRLF + trailer)
        answer = self.line()
        if answer != b"ACK":
            raise ConnectionError(answer)

    def read_packet(self, crc: int, ends: bytes, size: int) -> bytes:
        body = self.exactly(size)
        if ends not in (CRLF, CRLF * 3) or zlib.crc32(body) != crc:
            raise ConnectionError("a damaged packet")
        return body

    def read_trailer(self) -> Tuple[bytes, int, bytes]:
        """Kind, flags and value."""
        head = self.exactly(TRAILER.size)
        crc, end, kind, flags, length = TRAILER.unpack(head)
        value = self.exactly(length)
        if end != CRLF or zlib.crc32(head[6:] + value) != crc:
            raise ConnectionError("a damaged trailer")
        return kind, flags, value

    def read_message(self) -> Tuple[bytes, bytes, bytes]:
        """As a server: kind, value and body; without the last answer."""
        size, end, digest, end_2, crc, end_3 = FIRST.unpack(self.exactly(FIRST.size))
        if size > SIZE_MAX:
            raise ConnectionError("too large")
        parts = [self.read_packet(crc, end + end_2 + end_3, min(size, 1998))]
        left = size - len(parts[0])
        while left > 0:
            self.send(b"ACK %d\r\n" % GRANT)
            crc, end = struct.unpack(">I2s", self.exactly(6))
            parts.append(self.read_packet(crc, end, min(left, GRANT - 6)))
            left -= len(parts[-1])
        self.send(b"ACK\r\n")
        kind, flags, value = self.read_trailer()
        if flags & 2:
            digest, value = value[:32], value[32:]
        body = b"".join(parts)
        if hashlib.sha256(body).digest() != digest:
            raise ConnectionError("a damaged message")
        return kind, value, body


# --- a server ---

Serve = Callable[[Any], None]


class Server:
    """Listens, on a port of its own by default; each connection has a thread, in which serve has it."""

    def __init__(self, wire: Any, serve: Serve, port: int = 0) -> None:
        self.wire = wire
        self.serve = serve
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.threads: List[threading.Thread] = []
        self.sockets: List[socket.socket] = []
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(sock,), daemon=True)
            self.threads.append(thread)
            self.sockets.append(sock)
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        wire = self.wire(sock)
        try:
            wire.welcome()
            self.serve(wire)
        except (EOFError, OSError):
            pass
        finally:
            wire.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()


def echo(wire: Any) -> None:
    while True:
        wire.write(wire.read())


def connect(wire: Any, port: int) -> Any:
    client = wire(socket.create_connection(("127.0.0.1", port)))
    client.greet()
    return client


class MspStore:
    """What a server of msp does with its messages: it keeps them."""

    def __init__(self) -> None:
        self.messages: List[Tuple[bytes, bytes, bytes]] = []

    def __call__(self, wire: Msp) -> None:
        while True:
            kind, value, body = wire.read_message()
            refusal = self.refusal(kind, body)
            if refusal is None:
                self.take(kind, value, body)
            wire.send((b"REJ " + refusal if refusal is not None else b"ACK") + CRLF)

    def take(self, kind: bytes, value: bytes, body: bytes) -> None:
        self.messages.append((kind, value, body))

    def refusal(self, kind: bytes, body: bytes) -> Optional[bytes]:
        if kind == b"J":
            try:
                json.loads(body)
            except ValueError:
                return b"bad-json this is none"
        return None
