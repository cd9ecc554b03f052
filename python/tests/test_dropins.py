"""Programs in the style of three libraries, on the drop-ins, against msockd, against the drop-ins' own
servers, and against peers in plain Python."""

import contextlib
import errno
import json
import logging
import os
import random
import socket
import subprocess
import sys
import threading
import time
import unittest.mock
from typing import Any, Callable, Dict, Iterator, List, Tuple

import msock
import msock.journal
import plain
from support import BUILD, PATIENCE, TestCase, until

sys.path.insert(0, os.path.join(BUILD, "python", "dropins"))

import minimalsockets
import tinyproto
from gruv_socks import gruv_socks
from tinyproto import (
    TinyProtoClient,
    TinyProtoConnection,
    TinyProtoConnectionDetails,
    TinyProtoError,
    TinyProtoPlugin,
    TinyProtoServer,
)


@contextlib.contextmanager
def no_threads() -> Iterator[None]:
    """Threads cannot be started until one was wanted."""
    wanted: List[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        wanted.append(thread)
        raise RuntimeError("can't start new thread")

    with unittest.mock.patch.object(threading.Thread, "start", start):
        yield
        until(lambda: wanted)


for name in ("tinyproto", "gruv_socks"):
    logging.getLogger(name).addHandler(logging.NullHandler())
    logging.getLogger(name).propagate = False


# The last socket is closed when the threads are gone, some of them while they asked for the GIL.
MANY_THREADS = """
import sys, threading
from gruv_socks import gruv_socks

def talk(sock):
    while sock.write("x") and sock.read()[0]:
        trips.release()

def connected():
    sock = gruv_socks.Socket()
    assert sock.connect("127.0.0.1", int(sys.argv[1]))
    return sock

trips = threading.Semaphore(0)
for _ in range(20):
    threading.Thread(target=talk, args=(connected(),), daemon=True).start()
sys.last = connected()  # outlives the modules, and is closed then
for _ in range(1000):
    trips.acquire()
"""


def free_port() -> int:
    """Beneath those that the kernel gives to connections and for port 0: nobody gets it by chance."""
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


class DropinCase(TestCase):
    def plain_server(self, wire: Any, serve: Any) -> int:
        server = plain.Server(wire, serve)
        self.addCleanup(server.close)
        return server.port

    def plain_client(self, wire: Any, port: int) -> Any:
        client = plain.connect(wire, port)
        self.addCleanup(client.close)
        return client

    def msockd_port(self, url: str) -> int:
        return int(self.daemon(url).addresses[0].rpartition(":")[2])

    def thread(self, target: Callable[..., Any], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments)
        thread.start()
        self.addCleanup(thread.join)
        return thread


class Minimalsockets(DropinCase):
    def send_all(self, port: int) -> "List[Any]":
        """The program: a text, a document, a file."""
        path = self.path("report.bin", bytes(range(256)) * 100)
        sender = minimalsockets.Socket()
        self.addCleanup(sender.dispose)
        sender.connect(("127.0.0.1", port))
        sender.send("a text")
        sender.send(b"\xff\0")
        sender.send_json({"hello": "world"})
        sender.send_file(path)
        return [b"a text", b"\xff\0", b'{"hello":"world"}', bytes(range(256)) * 100]

    def test_sends_to_msockd(self) -> None:
        msockd = self.daemon("msp://127.0.0.1:0")
        sent = self.send_all(int(msockd.addresses[0].rpartition(":")[2]))
        records = list(msock.journal.read(msockd.data))
        self.assertEqual([record.body() for record in records], sent)
        self.assertEqual([r["kind"] for r in records], ["plain", "plain", "json", "file"])
        self.assertEqual(records[3]["file"], "files/report.bin")

    def test_sends_to_a_plain_peer(self) -> None:
        store = plain.MspStore()
        sent = self.send_all(self.plain_server(plain.Msp, store))
        self.assertEqual([body for _, _, body in store.messages], sent)
        self.assertEqual([kind for kind, _, _ in store.messages], [b"A", b"A", b"J", b"F"])

    def test_sends_to_its_own_server(self) -> None:
        port = free_port()
        server = minimalsockets.ServerSocket(("127.0.0.1", port))
        self.addCleanup(server.dispose)
        got: List[bytes] = []
        thread = self.thread(lambda: got.extend(server.listen() for _ in range(4)))
        sent = self.send_all(port)
        thread.join()
        self.assertEqual(got, sent)

    def test_its_server_lives_through_a_lack_of_threads(self) -> None:
        port = free_port()
        server = minimalsockets.ServerSocket(("127.0.0.1", port))
        got: List[bytes] = []
        self.thread(server.threaded_listen, got.append)
        self.addCleanup(server.dispose)
        begin = threading.Event()

        def send() -> None:
            begin.wait()
            self.client(f"msp://127.0.0.1:{port}").send("one")

        sender = self.thread(send)
        with no_threads():
            begin.set()
        self.client(f"msp://127.0.0.1:{port}").send("two")
        sender.join()
        self.assertEqual(sorted(got), [b"one", b"two"])

    def test_a_plain_peer_sends_to_its_server(self) -> None:
        port = free_port()
        server = minimalsockets.ServerSocket(("127.0.0.1", port))
        server.reread_size = 4096
        self.addCleanup(server.dispose)
        got: List[bytes] = []
        thread = self.thread(lambda: got.extend(server.listen() for _ in range(2)))
        until(lambda: server._server is not None)
        client = self.plain_client(plain.Msp, port)
        large = os.urandom(50_000)
        client.send_message(b"A", large)
        client.send_message(b"J", b"[1]")
        thread.join()
        self.assertEqual(got, [large, b"[1]"])

    def serve(self, handler: Any) -> Tuple[minimalsockets.ServerSocket, minimalsockets.Socket]:
        port = free_port()
        server = minimalsockets.ServerSocket(("127.0.0.1", port))
        thread = self.thread(server.threaded_listen, handler)
        self.addCleanup(thread.join)
        self.addCleanup(server.dispose)
        sender = minimalsockets.Socket()
        self.addCleanup(sender.dispose)
        sender.connect(("127.0.0.1", port))
        return server, sender

    def test_handlers_run_in_threads_and_refuse_by_an_exception(self) -> None:
        threads = set()

        def handler(data: bytes) -> None:
            threads.add(threading.current_thread())
            if data == b"no":
                raise LookupError

        _, sender = self.serve(handler)
        sender.send("yes")
        with self.assertRaisesRegex(ConnectionError, "refused"):
            sender.send("no")
        sender.send("yes again")
        self.assertNotIn(threading.main_thread(), threads)

    def test_dispose_ends_the_listening(self) -> None:
        ended: List[Any] = []

        def listen() -> None:
            try:
                ended.append(server.listen())
            except ConnectionError:
                ended.append("stopped")

        server = minimalsockets.ServerSocket(("127.0.0.1", free_port()))
        for program in (listen, lambda: ended.append(server.threaded_listen(print))):
            thread = self.thread(program)
            until(lambda: server._server is not None and server._server.addresses)
            server.dispose()
            thread.join()
        self.assertEqual(ended, ["stopped", None])

    def test_handlers_with_entry_get_text(self) -> None:
        texts: List[str] = []

        class Handler:
            def entry(self, text: str) -> None:
                texts.append(text)

        _, sender = self.serve(Handler())
        sender.send("grün")
        with self.assertRaises(ConnectionError):
            sender.send(b"\xff")
        self.assertEqual(texts, ["grün"])

    def test_encryption_and_bad_input(self) -> None:
        got: List[bytes] = []
        _, sender = self.serve(got.append)
        sender.send("plain")
        sender.encryption_logic = lambda data: data[::-1]
        sender.send("text")
        sender.send_json([1, 2])
        sender.send_file(self.path("name", b"content"))
        self.assertEqual(got, [b"plain", b"txet", b"]2 ,1[", b"tnetnoc"])
        sender.encryption_logic = None
        for bad in (object(), float("nan"), {1j: 1}):
            with self.assertRaises(ValueError):
                sender.send_json(bad)
        with self.assertRaises(OSError):
            sender.send_file(self.path("nothing"))
        with self.assertRaises(TypeError):
            sender.send(5)  # type: ignore[arg-type]
        with self.assertRaises(ConnectionError):
            minimalsockets.Socket().send("x")
        alone = minimalsockets.Socket()
        alone.connect(("127.0.0.1", free_port()))
        alone._open().close()
        with self.assertRaises(ValueError):
            alone.send("x")
        alone.dispose()


class EchoConnection(TinyProtoConnection):
    """Sends back what comes; QUIT ends the connection, SRVQUIT the server."""

    server: TinyProtoServer

    def transmission_received(self, msg: bytes) -> None:
        if msg == b"QUIT":
            self.transmit(b"bye")
            self.shutdown = True
        elif msg == b"SRVQUIT":
            self.transmit(b"bye, all")
            self.server.shutdown = True
        else:
            self.transmit(msg)


class ChatConnection(TinyProtoConnection):
    """A chat: /nick gives a name."""

    server: TinyProtoServer

    def __init__(self) -> None:
        super().__init__()
        self.nick = "somebody"

    def transmission_received(self, msg: bytes) -> None:
        if msg.startswith(b"/nick "):
            self.nick = msg[6:].decode()
            return
        for other in self.server.active_connections:
            if other is not self:
                with contextlib.suppress(TinyProtoError):  # it has just ended
                    other.transmit(f"{self.nick}: ".encode() + msg)


class Tinyproto(DropinCase):
    def serve(self, handler: Any, server: Any = None) -> int:
        """Serves with a class of connections; in the older way unless there is a server."""
        port = free_port()
        if server is None:
            server = TinyProtoServer()
            server.add_addr("127.0.0.1", port)
            server.set_conn_handler(handler)
        else:
            server = server(port)
        handler.server = self.server = server
        self.server_thread = self.thread(server.start)
        self.addCleanup(setattr, server, "shutdown", True)
        self.wait_for(port)
        return port

    def wait_for(self, port: int) -> None:
        def listens() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        until(listens)

    def client(self) -> TinyProtoClient:  # type: ignore[override]
        client = TinyProtoClient(timeout=0.1)
        self.assertEqual(client.timeout, 0.1)
        client.set_timeout(PATIENCE)
        self.addCleanup(client._end_all)
        return client

    def talk(self, port: int) -> TinyProtoConnection:
        """The program: a client that says something and hears it again."""
        client = self.client()
        connection = client.active_connections[client.connect_to("127.0.0.1", port)]
        for message in (b"hello", bytearray(b"again"), b"", os.urandom(100_000)):
            connection.transmit(message)
            self.assertEqual(connection.receive(), message)
        self.assertEqual(connection.peername_details, ("127.0.0.1", port))
        self.assertEqual(connection.socket_o.getpeername(), ("127.0.0.1", port))
        return connection

    def test_an_echo_of_msockd(self) -> None:
        self.talk(self.msockd_port("tinyproto://127.0.0.1:0?handler=echo"))

    def test_an_echo_of_a_plain_peer(self) -> None:
        self.talk(self.plain_server(plain.Tiny, plain.echo))

    def test_an_echo_of_its_own_server(self) -> None:
        port = self.serve(EchoConnection)
        connection = self.talk(port)
        connection.transmit(b"QUIT")
        self.assertEqual(connection.receive(), b"bye")
        with self.assertRaises(TinyProtoError):
            connection.receive()
        self.assertFalse(connection.is_alive())
        peer = self.plain_client(plain.Tiny, port)
        peer.write(b"from a plain peer")
        self.assertEqual(peer.read(), b"from a plain peer")
        connection = self.talk(port)
        connection.transmit(b"SRVQUIT")
        self.assertEqual(connection.receive(), b"bye, all")
        self.server_thread.join()
        self.assertEqual(len(self.server.active_connections), 0)
        with self.assertRaises(TinyProtoError):
            self.talk(port)

    def chat(self, port: int) -> None:
        ann, bob = (self.client() for _ in range(2))
        key = ann.connect_to("127.0.0.1", port)
        bob.connect_to("127.0.0.1", port)
        ann.active_connections[key].transmit(b"/nick ann")
        ann.active_connections[0].transmit(b"hello")
        while (said := bob.active_connections[0].receive()) != b"ann: hello":
            self.assertNotIn(b"hello", said)

    def test_a_chat(self) -> None:
        port = self.serve(ChatConnection)
        self.chat(port)

    def test_the_chat_of_msockd(self) -> None:
        module = os.path.join(BUILD, "examples", "chat.so")
        if not os.path.exists(module):
            self.skipTest("the module of the chat is not built")
        self.chat(self.msockd_port("tinyproto://127.0.0.1:0?handler=module&path=" + module))

    def test_hooks_of_the_older_generation(self) -> None:
        told: List[Any] = []

        class Server(TinyProtoServer):
            def pre_loop(self) -> None:
                told.append("pre")

            def loop_pass(self) -> None:
                told.append("pass")

            def post_loop(self) -> None:
                told.append("post")

            def conn_init(self, conn_o: TinyProtoConnection) -> None:  # type: ignore[override]
                told.append(conn_o)

            def conn_shutdown(self, conn_o: TinyProtoConnection) -> None:  # type: ignore[override]
                told.append(conn_o)

        def make(port: int) -> Server:
            server = Server()
            server.add_addr("127.0.0.1", port)
            server.set_conn_handler(EchoConnection)
            return server

        self.talk(self.serve(EchoConnection, make)).transmit(b"SRVQUIT")
        self.server_thread.join()
        self.assertEqual((told[0], told[1], told[-1]), ("pre", "pass", "post"))
        connections = [one for one in told if isinstance(one, TinyProtoConnection)]
        self.assertEqual(len(set(connections)), len(connections) // 2)

    def test_the_later_generation(self) -> None:
        told: Dict[Any, Any] = {}

        class Server(TinyProtoServer):
            def conn_init(self, conn_id: Any, conn_o: TinyProtoConnection) -> None:
                told[conn_id] = conn_o

        def make(port: int) -> Server:
            return Server([TinyProtoConnectionDetails("127.0.0.1", port)], connection_handler=EchoConnection)

        port = self.serve(EchoConnection, make)
        client = self.client()
        key = client.connect_to(TinyProtoConnectionDetails("127.0.0.1", port))
        client.active_connections[key].transmit(b"x")
        self.assertEqual(client.active_connections[key].receive(), b"x")
        conn_id, conn_o = next(iter(self.server.active_connections.items()))
        self.assertIs(told[conn_id], conn_o)
        for one in self.server.active_connections:
            self.assertIs(self.server.active_connections[one], one)
            self.assertIn(one, self.server.active_connections)
        self.assertIn(conn_id, self.server.active_connections)
        self.assertIs(self.server.active_connections[0], conn_o)

    def test_a_server_lives_through_a_lack_of_threads(self) -> None:
        port = self.serve(EchoConnection)
        self.talk(port)  # it stays
        until(lambda: len(self.server.active_connections) == 1)
        for self.server.connection_limit in (2, 1):
            with no_threads(), socket.create_connection(("127.0.0.1", port)) as sock:
                self.assertEqual(sock.recv(1), b"")
            until(lambda: len(self.server.active_connections) == 1)
        self.server.connection_limit = 2
        self.talk(port)

    def test_a_name_that_is_none(self) -> None:
        with self.assertRaises(TinyProtoError):
            self.client().connect_to("a..b", 1)
        self.assertFalse(gruv_socks.Socket().connect("a..b", 1))

    def test_a_connection_without_a_thread_ends_too(self) -> None:
        """By its program, by the server, and by conn_init."""
        ended: List[TinyProtoConnection] = []

        class Client(TinyProtoClient):
            limited = False

            def conn_init(self, conn_o: TinyProtoConnection) -> None:  # type: ignore[override]
                conn_o.shutdown = self.limited

            def conn_shutdown(self, conn_o: TinyProtoConnection) -> None:  # type: ignore[override]
                ended.append(conn_o)

        port = self.serve(EchoConnection)
        client = Client(timeout=PATIENCE)
        made = [client.active_connections[client.connect_to("127.0.0.1", port)] for _ in range(2)]
        for connection in made:
            connection.transmit(b"x")
            self.assertEqual(connection.receive(), b"x")
        made[0].shutdown = True
        until(lambda: len(self.server.active_connections) == 1)
        self.server.active_connections[0].shutdown = True
        with self.assertRaises(TinyProtoError):
            made[1].receive()
        self.assertEqual(ended, made)
        client.limited = True
        client.connect_to("127.0.0.1", port)
        self.assertEqual((len(ended), len(client.active_connections)), (3, 0))

    def test_hooks_of_connections_and_plugins(self) -> None:
        told: List[str] = []
        sent = threading.Event()

        class Connection(TinyProtoConnection):
            def pre_loop(self) -> None:
                told.append("pre")

            def loop_pass(self) -> None:
                told.append("pass")

            def post_loop(self) -> None:
                told.append("post")

            def transmission_received(self, msg: bytes) -> None:
                told.append(msg.decode())
                if msg == b"last":
                    sent.wait(PATIENCE)  # for a transmit() that is on its way back
                    self.shutdown = True

        class Swap(TinyProtoPlugin):
            def msg_transmit(self, msg: bytes) -> bytes:
                return msg.swapcase()

            def msg_receive(self, msg: bytes) -> bytes:
                return msg.swapcase()

        class Mark(TinyProtoPlugin):
            def msg_transmit(self, msg: bytes) -> bytes:
                return b"<" + msg

            def msg_receive(self, msg: bytes) -> bytes:
                return msg[1:]

        seen: List[bytes] = []

        def serve(wire: plain.Tiny) -> None:
            while True:
                seen.append(wire.read())
                wire.write(seen[-1])

        client = self.client()
        client.set_conn_handler(Connection)
        client.register_connection_plugin([Swap, Mark()])
        key = client.connect_to("127.0.0.1", self.plain_server(plain.Tiny, serve))
        client.active_connections[key].transmit(b"Hello")
        until(lambda: "Hello" in told)
        client.active_connections[key].transmit(b"last")
        sent.set()
        until(lambda: "post" in told)
        self.assertEqual(seen, [b"<hELLO", b"<LAST"])
        self.assertEqual((told[0], told[1], told[-1]), ("pre", "pass", "post"))
        until(lambda: key not in client.active_connections)

    def test_programs_that_receive_in_their_own_loop(self) -> None:
        class Connection(TinyProtoConnection):
            def loop_pass(self) -> None:
                if self._link.wait(0):
                    self.transmit(self.receive().upper())

        client = self.client()
        client.connect_to("127.0.0.1", self.serve(Connection))
        connection = client.active_connections[0]
        for _ in range(30):
            connection.transmit(b"again")
            self.assertEqual(connection.receive(), b"AGAIN")

    def test_the_loop_of_a_client(self) -> None:
        passes: List[int] = []

        class Client(TinyProtoClient):
            def loop_pass(self) -> None:
                passes.append(len(self.active_connections))
                self.shutdown = len(passes) == 2

        client = Client()
        client.connect_to("127.0.0.1", self.plain_server(plain.Tiny, plain.echo))
        client.start()
        self.assertEqual(passes, [1, 1])
        self.assertEqual(len(client.active_connections), 0)

    def test_errors(self) -> None:
        client = TinyProtoClient()
        client.timeout = 0.2
        with self.assertRaises(TinyProtoError):
            client.connect_to("127.0.0.1", free_port())
        with self.assertRaises(TypeError):
            client.connect_to("127.0.0.1")
        for bad in (5, object, TinyProtoPlugin):
            with self.assertRaises(ValueError):
                client.set_conn_handler(bad)  # type: ignore[arg-type]
        client.connect_to("127.0.0.1", self.plain_server(plain.Tiny, lambda wire: wire.exactly(1)))
        with self.assertRaises(TypeError):
            client.active_connections[0].transmit("text")  # type: ignore[arg-type]
        with self.assertRaises(TinyProtoError):
            client.active_connections[0].receive()
        client._end_all()
        with self.assertRaises(TinyProtoError):
            taken = TinyProtoServer()
            with socket.create_server(("127.0.0.1", 0)) as other:
                taken.add_addr("127.0.0.1", other.getsockname()[1])
                taken.start()
        self.assertEqual((tinyproto.SC_OK, tinyproto.SC_GENERIC_ERROR), (0xFF, 0))
        self.assertEqual((tinyproto.SC_CONLIMIT, tinyproto.SC_CONFLICT), (0xFE, 0xFD))
        self.assertEqual(tinyproto.MSG_MAX_SIZE, 0xF0FFFFFF)

    def test_a_limit_of_connections(self) -> None:
        def make(port: int) -> TinyProtoServer:
            server = TinyProtoServer()
            server.add_addr("127.0.0.1", port)
            server.connection_limit = 1
            server.set_conn_handler(EchoConnection)
            return server

        port = self.serve(EchoConnection, make)
        until(self.talks_to(port))
        with self.assertRaises(TinyProtoError):
            self.talk(port)


    def talks_to(self, port: int) -> Callable[[], bool]:
        """The connection that has looked for the server may still be there."""

        def talks() -> bool:
            try:
                self.talk(port)
            except TinyProtoError:
                return False
            return True

        return talks


class GruvSocks(DropinCase):
    def talk(self, port: int) -> gruv_socks.Socket:
        """The program: an echo with a look at each status."""
        sock = gruv_socks.Socket()
        self.addCleanup(sock.disconnect)
        self.assertTrue(sock.connect("127.0.0.1", port))
        for data in (b"hello", b"", os.urandom(100_000)):
            self.assertTrue(sock.write(data))
            self.assertEqual(sock.read(), (True, data))
        self.assertTrue(sock + "text")
        self.assertEqual(sock.read(PATIENCE), (True, b"text"))
        self.assertEqual(sock.read(0.01), (False, gruv_socks.SOCK_TIMEOUT))
        return sock

    def serve(self, callback: Any, **options: Any) -> int:
        port = free_port()
        server = gruv_socks.ServerBase()
        server.start(callback, port, "127.0.0.1", **options)
        self.addCleanup(server.stop)
        self.server = server
        return port

    def test_an_echo_of_msockd(self) -> None:
        self.talk(self.msockd_port("frame://127.0.0.1:0?handler=echo"))

    def test_an_echo_of_a_plain_peer(self) -> None:
        self.talk(self.plain_server(plain.Frame, plain.echo))

    def test_an_echo_of_its_own_server(self) -> None:
        port = self.serve(gruv_socks.echo_callback)
        self.talk(port).disconnect()
        peer = self.plain_client(plain.Frame, port)
        peer.write(b"from a plain peer")
        self.assertEqual(peer.read(), b"from a plain peer")
        self.server.stop()
        self.assertFalse(gruv_socks.Socket().connect("127.0.0.1", port, 1))
        self.assertEqual(
            gruv_socks.server_test(), b"If you see this message, that means gruv_socks is working!"
        )

    def test_a_socket_closes_when_nothing_holds_it(self) -> None:
        held: List[gruv_socks.Socket] = []
        threads: List[threading.Thread] = []

        def callback(address: Tuple[str, int], sock: gruv_socks.Socket) -> None:
            threads.append(threading.current_thread())
            good, data = sock.read()
            if data == b"hold":
                held.append(sock)
            elif data == b"fail":
                raise LookupError

        port = self.serve(callback)
        for word in (b"go", b"fail"):
            peer = self.plain_client(plain.Frame, port)
            peer.write(word)
            with self.assertRaises(EOFError):
                peer.read()
        peer = self.plain_client(plain.Frame, port)
        peer.write(b"hold")
        until(lambda: held and not threads[-1].is_alive())
        held[0].write("still there")
        self.assertEqual(peer.read(), b"still there")
        held.pop().disconnect()
        self.assertEqual(len(set(threads)), 3)

    def test_one_thread_reads_while_another_writes(self) -> None:
        sock = gruv_socks.Socket()
        self.addCleanup(sock.disconnect)
        sock.connect("127.0.0.1", self.plain_server(plain.Frame, plain.echo))
        got: List[Any] = []
        thread = self.thread(lambda: got.extend(sock.read() for _ in range(100)))
        for i in range(100):
            self.assertTrue(sock.write(b"%d" % i))
        thread.join()
        self.assertEqual(got, [(True, b"%d" % i) for i in range(100)])

    def test_statuses_and_bad_input(self) -> None:
        sock = gruv_socks.Socket(timeout=0.05, debug=True)
        self.assertEqual(str(gruv_socks.Socket()), "gruv_socks.Socket(timeout=60, debug=False)")
        self.assertEqual(sock.read(), (False, gruv_socks.SOCK_ERROR))
        self.assertFalse(sock.write("x"))
        self.assertFalse(sock.connect("127.0.0.1", free_port()))
        ours, theirs = socket.socketpair()
        with theirs:
            given = gruv_socks.Socket(ours, timeout=0.05)
            self.assertEqual(given.read(), (False, gruv_socks.SOCK_TIMEOUT))
            with self.assertRaises(TypeError):
                given.write(5)  # type: ignore[arg-type]
        self.assertEqual(given.read(), (False, gruv_socks.SOCK_ERROR))
        self.assertFalse(given.write("x"))
        given.disconnect()
        given.disconnect()

    def test_an_interpreter_ends_while_many_threads_talk(self) -> None:
        port = self.serve(gruv_socks.echo_callback)
        path = os.pathsep.join(sys.path)
        program = subprocess.run(
            [sys.executable, "-c", MANY_THREADS, str(port)], timeout=PATIENCE * 3, env={**os.environ, "PYTHONPATH": path}
        )
        self.assertEqual(program.returncode, 0)

    def test_a_disconnect_while_another_thread_writes(self) -> None:
        sock = gruv_socks.Socket()
        self.assertTrue(sock.connect("127.0.0.1", self.plain_server(plain.Frame, plain.echo)))

        class Disconnected:
            """The other thread has its turn between two lines of write()."""

            def __enter__(self) -> None:
                sock.disconnect()

            def __exit__(self, *args: Any) -> None:
                pass

        sock._writing = Disconnected()  # type: ignore[assignment]
        self.assertFalse(sock.write("x"))
        self.assertEqual(sock.read(), (False, gruv_socks.SOCK_ERROR))

    def test_a_server_lives_through_a_lack_of_descriptors(self) -> None:
        server = gruv_socks.ServerBase()
        waits = []

        class Listener:
            def accept(self) -> Any:
                waits.append(1)
                if len(waits) == 3:
                    server._listener = None
                raise OSError(errno.EMFILE, "too many open files")

        server._listener = Listener()  # type: ignore[assignment]
        server._accept(server._listener, gruv_socks.echo_callback)  # type: ignore[arg-type]
        self.assertEqual(len(waits), 3)

    def test_a_server_lives_through_a_lack_of_threads(self) -> None:
        server = gruv_socks.ServerBase()
        port = free_port()
        server.start(gruv_socks.echo_callback, port, "127.0.0.1")
        self.addCleanup(server.stop)
        sock = gruv_socks.Socket()
        with no_threads():
            self.assertTrue(sock.connect("127.0.0.1", port))
        self.assertEqual(sock.read(), (False, gruv_socks.SOCK_ERROR))
        self.assertTrue(sock.connect("127.0.0.1", port) and sock.write("x"))
        self.assertEqual(sock.read(), (True, b"x"))
        sock.disconnect()

    def test_a_blocking_server(self) -> None:
        server = gruv_socks.ServerBase()
        port = free_port()
        thread = self.thread(server.start, gruv_socks.echo_callback, port, "127.0.0.1", True)
        until(lambda: gruv_socks.Socket().connect("127.0.0.1", port))
        server.stop()
        thread.join()
