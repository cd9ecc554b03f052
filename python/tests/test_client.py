"""msock.Client against msockd and msock.Server, and what it does with bad input."""

import array
import functools
import gc
import importlib
import json
import os
import pathlib
import pickle
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import warnings
import weakref
from typing import Any, Iterator, List

import msock
from support import BUILD, PATIENCE, TestCase, interrupted, until

DEAD = "msp://127.0.0.1:1"


def echo(message: msock.Message) -> bytes:
    return message.data


class Sending(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.msockd = self.daemon("auto://127.0.0.1:0", "auto://127.0.0.1:0?handler=echo")
        self.journal = "msp://" + self.msockd.addresses[0]
        self.echo = "msp://" + self.msockd.addresses[1]

    def test_bytes_come_back_as_they_were(self) -> None:
        client = self.client(self.echo)
        for data in (b"", b"\0\xff", bytearray(b"abc"), memoryview(b"defg")[1:], array.array("H", [1, 2])):
            self.assertEqual(client.send(data, reply=True).reply, bytes(data))
        self.assertEqual(client.send("grün", reply=True).reply, "grün".encode())
        large = os.urandom(3_000_000)
        self.assertEqual(client.send(large, reply=True).reply, large)
        self.assertIsNone(client.send("x").reply)
        self.assertEqual(client.counts()["messages"], 8)
        self.assertEqual(client.connected_to, self.msockd.addresses[1])
        self.assertTrue(client.acknowledges)

    def test_documents_are_compact_json(self) -> None:
        client = self.client(self.echo)
        value = {"a": [1, 2.5, None, True], "ü": "\u2028"}
        reply = client.send_json(value, reply=True).reply
        assert reply is not None
        self.assertEqual(json.loads(reply), value)
        self.assertNotIn(b" ", reply)
        for bad in (float("nan"), object(), {1j: 2}, "\ud800"):
            with self.assertRaises((TypeError, ValueError)):
                client.send_json(bad)
        deep: Any = []
        for _ in range(600):
            deep = [deep]
        with self.assertRaises(msock.Refused) as caught:
            client.send_json(deep)
        self.assertEqual(caught.exception.code, "bad-json")
        self.assertIn("bad-json", str(caught.exception))
        client.send_json([])  # the connection goes on

    def test_ids(self) -> None:
        client = self.client(self.journal)
        self.assertEqual(client.send("x", id="order-1").id, "order-1")
        self.assertEqual(client.send("x", id=b"\xff").id, b"\xff")
        reply = client.send("x", id="order-1", reply=True).reply
        assert reply is not None
        self.assertTrue(json.loads(reply)["duplicate"])
        with self.assertRaises(msock.Refused) as caught:
            client.send("other", id="order-1")
        self.assertEqual(caught.exception.code, "id-reused")
        first, second = client.send("x").id, client.send("x").id
        assert isinstance(first, str)
        self.assertEqual(len(first), 32)
        self.assertNotEqual(first, second)
        self.assertIsNone(self.client(self.journal, auto_id=False).send("x").id)
        for bad in ("", b"", "x" * 2007):
            with self.assertRaises(msock.UsageError):
                client.send("x", id=bad)

    def test_files(self) -> None:
        client = self.client(self.journal)
        path = self.path("disk.img", os.urandom(100_000))
        client.send_file(path)
        client.send_file(pathlib.Path(path), "a/b")
        with open(path, "rb") as file:
            file.seek(99_990)
            client.send_file(file, name=b"end")
            file.seek(0)
            client.send_file(file.fileno(), "whole")
            with self.assertRaises(msock.UsageError):
                client.send_file(file)
        stored = pathlib.Path(self.msockd.data) / "files"
        content = pathlib.Path(path).read_bytes()
        self.assertEqual((stored / "disk.img").read_bytes(), content)
        self.assertEqual((stored / "a" / "b").read_bytes(), content)
        self.assertEqual((stored / "end").read_bytes(), content[-10:])
        self.assertEqual((stored / "whole").read_bytes(), content)
        with self.assertRaises(msock.LocalError) as caught:
            client.send_file(self.path("nothing"))
        self.assertIn("No such file", str(caught.exception))
        self.assertIsInstance(caught.exception, OSError)
        with self.assertRaises(msock.Refused) as refused:
            client.send_file(path, "../up")
        self.assertEqual(refused.exception.code, "bad-path")
        for bad in ("a\0b", 5.5, self.path("x\0y")):
            with self.assertRaises((ValueError, TypeError)):
                client.send_file(bad)
        with self.assertRaises(msock.LocalError):
            client.send_file(self.directory)

    def test_many_are_reported_in_order(self) -> None:
        client = self.client(self.journal)
        outcomes = list(client.send_many([b"%d" % i for i in range(3000)]))
        self.assertEqual([outcome.number for outcome in outcomes], list(range(3000)))
        self.assertEqual({outcome.error for outcome in outcomes}, {None})
        self.assertEqual(len({outcome.id for outcome in outcomes}), 3000)
        pairs = list(client.send_many((("x", f"id-{i % 2}") for i in range(4))))
        self.assertEqual([pair.id for pair in pairs], ["id-0", "id-1", "id-0", "id-1"])
        documents = [{"n": 1}, [], {"n": 2}]
        self.assertEqual([o.error for o in client.send_many(documents, json=True)], [None] * 3)
        self.assertEqual(list(client.send_many([])), [])

    def test_one_of_many_is_refused_alone(self) -> None:
        client = self.client(self.journal)
        items = [("a", "same"), ("b", "same"), ("c", "other")]
        first, second, third = client.send_many(items)
        self.assertIsNone(first.error)
        self.assertIsInstance(second.error, msock.Refused)
        assert isinstance(second.error, msock.Refused)
        self.assertEqual(second.error.code, "id-reused")
        self.assertIsNone(third.error)

    def test_each_of_many_leaves_before_the_next_is_asked_for(self) -> None:
        client = self.client(self.journal)
        committed = self.client(self.journal)

        def items() -> Iterator[str]:
            for i in range(3):
                yield f"item {i}"
                until(lambda: json.loads(self.msockd.control("stats", "--json"))["total"]["messages"] > i)

        self.assertEqual(len(list(client.send_many(items()))), 3)
        committed.send("x")

    def test_an_open_file_is_sent_from_where_the_program_is(self) -> None:
        """Its descriptor is elsewhere: ahead of what was read, behind what was written."""
        client = self.client(self.journal)
        path = self.path("open", b"0123456789")
        with open(path, "r+b") as file:
            file.read(2)
            client.send_file(file, "read")
            file.seek(0, os.SEEK_END)
            file.write(b"more")
            file.seek(8)
            client.send_file(file, "written")
        with open(path, "r+b") as file:
            file.read(4)
            file.write(b"xx")
            client.send_file(file, "both")
        sent = {}
        for name in ("read", "written", "both"):
            with open(os.path.join(self.msockd.data, "files", name), "rb") as stored:
                sent[name] = stored.read()
        self.assertEqual(sent, {"read": b"23456789", "written": b"89more", "both": b"6789more"})

    def test_one_thread_iterates(self) -> None:
        """Other threads, and the items themselves, hear that send_many is in use."""
        client = self.client(self.journal)
        other_thread: List[Any] = []
        is_asked, may_go_on = threading.Event(), threading.Event()

        def item(number: int) -> bytes:
            with self.assertRaisesRegex(msock.UsageError, "in use"):
                next(many)
            if number == 1:
                is_asked.set()
                may_go_on.wait(PATIENCE)
            return b"%d" % number

        many = client.send_many(map(item, range(3)))
        thread = threading.Thread(target=lambda: other_thread.extend(many))
        thread.start()
        self.assertTrue(is_asked.wait(PATIENCE))
        with self.assertRaisesRegex(msock.UsageError, "in use"):
            next(many)
        client.send("between")
        may_go_on.set()
        thread.join()
        self.assertEqual([outcome.error for outcome in other_thread], [None] * 3)

    def test_an_iterable_that_fails_ends_send_many(self) -> None:
        client = self.client(self.journal)

        def items() -> Iterator[Any]:
            yield "one"
            yield "two"
            raise LookupError("no more")

        outcomes = []
        with self.assertRaises(LookupError):
            for outcome in client.send_many(items()):
                outcomes.append(outcome)
        with self.assertRaises(TypeError):
            list(client.send_many(["a", 5]))
        with self.assertRaises(TypeError):
            client.send_many(5)  # type: ignore[arg-type]
        many = client.send_many(["left", "behind"] * 2000)
        next(many)
        self.assertEqual(len(list(client.send_many(["a"]))), 1)
        with self.assertRaises(msock.UsageError):
            next(many)
        client.send("x")
        self.assertEqual(json.loads(self.msockd.control("stats", "--json"))["total"]["err"], 0)

    def test_the_smaller_protocols(self) -> None:
        for protocol in ("tinyproto", "cnp", "frame"):
            client = self.client(f"{protocol}://{self.msockd.addresses[1]}")
            sent = client.send("hello", reply=True)
            self.assertEqual((sent.id, sent.reply), (None, b"hello"))
            client.send("pushed")
            self.assertEqual(client.receive(PATIENCE), b"pushed")
            with self.assertRaises(msock.Timeout) as caught:
                client.receive(0.01)
            self.assertIsInstance(caught.exception, TimeoutError)
            self.assertGreater(client.fileno(), 2)
        with self.assertRaises(msock.UsageError):
            self.client(self.echo).receive()

    def test_sealed_messages(self) -> None:
        key = self.path("key", os.urandom(32))
        os.chmod(key, 0o600)
        msockd = self.daemon_beside("msp://127.0.0.1:0?handler=echo&key_file=" + key)
        client = self.client("msp://" + msockd.addresses[0], key_file=pathlib.Path(key))
        self.assertEqual(client.send("secret", reply=True).reply, b"secret")
        with self.assertRaises(msock.Refused):
            self.client("msp://" + msockd.addresses[0]).send("open")
        with self.assertRaises(msock.LocalError):
            msock.Client(key_file=self.path("no key"))

    def certificates(self) -> str:
        """A directory with an authority, and a certificate of localhost."""
        pki, directory = [os.path.join(BUILD, "msockctl"), "pki"], self.path("pki")
        subprocess.run([*pki, "init", "--dir", directory], check=True, capture_output=True)
        subprocess.run([*pki, "issue", "--dir", directory, "localhost"], check=True, capture_output=True)
        return directory

    def test_tls(self) -> None:
        pki = pathlib.Path(self.certificates())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.pem"))
        context.load_cert_chain(pki / "localhost.pem", pki / "localhost.key")
        context.verify_mode = ssl.CERT_REQUIRED
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        said: List[bytes] = []

        def serve() -> None:
            for _ in range(3):
                try:
                    with context.wrap_socket(listener.accept()[0], server_side=True) as peer:
                        said.append(peer.recv(100))
                        peer.sendall(b"pong\n")
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        url = "frame+tls://localhost:%d?framing=delimiter" % listener.getsockname()[1]
        mine: Any = {"cert": pki / "localhost.pem", "cert_key": str(pki / "localhost.key")}
        client = self.client(url, ca=pki / "ca.pem", **mine)
        self.assertEqual(client.send("ping", reply=True).reply, b"pong")
        refused: List[Any] = [({}, "is not taken"), ({"ca": pki / "ca.pem", "server_name": "a"}, "mismatch")]
        for options, why in refused:
            with self.assertRaisesRegex(msock.Unreachable, why) as caught:
                self.client(url, **options).connect()
            self.assertEqual(caught.exception.code, "untrusted")
        thread.join()
        self.assertEqual(said, [b"ping\n"])
        with self.assertRaisesRegex(msock.LocalError, "cannot be read"):
            msock.Client(url, ca=pki / "none")
        with self.assertRaises(msock.UsageError):
            msock.Client(insecure=True)

    def daemon_beside(self, url: str) -> Any:
        self.directory = os.path.join(self.directory, "beside")
        os.mkdir(self.directory)
        return self.daemon(url)


class Callbacks(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.address = self.served("auto://127.0.0.1:0", echo)

    def test_progress_is_told_and_can_stop(self) -> None:
        told = []
        client = self.client("msp://" + self.address, progress=lambda *args: told.append(args))
        client.send(b"x" * 1_000_000)
        self.assertEqual(told[0], (0, 1_000_000))
        self.assertEqual(told[-1], (1_000_000, 1_000_000))
        self.assertEqual(told, sorted(told))
        stopping = self.client("msp://" + self.address, progress=lambda done, total: False)
        with self.assertRaises(msock.Cancelled):
            stopping.send("x")

    def test_an_exception_in_a_callback_comes_out(self) -> None:
        client: Any = None

        def progress(done: int, total: int) -> None:
            client.send("within")

        client = self.client("msp://" + self.address, progress=progress)
        with self.assertRaisesRegex(msock.UsageError, "in use"):
            client.send("x")

        def encode(data: bytes) -> bytes:
            raise LookupError("no key")

        client = self.client("msp://" + self.address, encode=encode)
        with self.assertRaises(LookupError):
            client.send("x")
        with self.assertRaises(LookupError):
            list(client.send_many(["a", "b"]))
        client = self.client("msp://" + self.address, encode=lambda data: 5)
        with self.assertRaises(TypeError):
            client.send("x")

    def test_transforms_go_both_ways(self) -> None:
        client = self.client("msp://" + self.address, encode=bytes.swapcase, decode=lambda b: b + b"!")
        client.add_transform(lambda data: b"<" + data + b">", None)
        self.assertEqual(client.send("Hello", reply=True).reply, b"<hELLO>!")
        self.assertEqual(len(list(client.send_many(["a"]))), 1)
        for _ in range(6):
            client.add_transform(None)
        with self.assertRaises(msock.UsageError):
            client.add_transform(None)
        with self.assertRaises(TypeError):
            client.add_transform(5)  # type: ignore[arg-type]

    def test_a_client_in_a_cycle_is_collected(self) -> None:
        def make() -> "weakref.ref[Any]":
            class Holder:
                def progress(self, done: int, total: int) -> None:
                    pass

            holder: Any = Holder()
            holder.client = msock.Client("msp://" + self.address, progress=holder.progress)
            holder.client.send("x")
            holder.client.close()
            return weakref.ref(holder)

        holder = make()
        gc.collect()
        self.assertIsNone(holder())

    def test_a_client_that_nobody_closes_warns(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            msock.Client("msp://" + self.address).send("x")
            gc.collect()
        self.assertEqual([warning.category for warning in caught], [ResourceWarning])


class Waiting(TestCase):
    """Behind this port somebody accepts, and says nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.listener = self.enter(socket.create_server(("127.0.0.1", 0)))
        self.silent = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def test_a_wait_is_interrupted(self) -> None:
        waits = [
            lambda: self.client(DEAD, retries=1000).send("x"),
            lambda: self.client("msp://" + self.silent, commit_timeout=100).send("x"),
            lambda: self.client("cnp://" + self.silent, timeout=100).connect(),
            lambda: self.client("frame://" + self.silent).receive(),
            lambda: list(self.client("msp://" + self.silent).send_many(["x"] * 5)),
            lambda: list(self.client("msp://" + self.silent).send_many(["x"] * 5000)),
            lambda: self.client("msp://" + self.silent).send_file(fifo),
        ]
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        for elsewhere in (False, True):
            for wait in waits:
                with self.assertRaises(KeyboardInterrupt), interrupted(elsewhere):
                    wait()

    def test_another_signal_ends_no_wait(self) -> None:
        import signal

        seen = []
        before = signal.signal(signal.SIGUSR1, lambda *args: seen.append(1))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        with self.assertRaises(msock.Timeout):
            self.client("frame://" + self.silent).receive(0.2)
        timer.join()
        self.assertEqual(seen, [1])

    def test_other_threads_run_and_may_not_use_it(self) -> None:
        client = self.client("frame://" + self.silent)
        client.connect()
        result = []

        def receive() -> None:
            try:
                client.receive(PATIENCE)
            except msock.Error as error:
                result.append(error)

        thread = threading.Thread(target=receive)
        thread.start()
        peer, _ = self.listener.accept()

        def refused() -> bool:
            try:
                client.counts()
            except msock.UsageError as error:
                self.assertIn("another thread", str(error))
                return True
            return False

        until(refused)
        for use in (lambda: client.send("x"), client.close, lambda: client.connected_to, client.fileno):
            with self.assertRaises(msock.UsageError):
                use()
        peer.close()
        thread.join()
        self.assertIsInstance(result[0], msock.Unreachable)

    def test_a_child_leaves_the_connection_alone(self) -> None:
        address = self.served("msp://127.0.0.1:0", echo)
        client = self.client("msp://" + address)
        client.send("before")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                client.send("from the child")
            except msock.UsageError:
                status = 0
            finally:
                client = None
                gc.collect()
                os._exit(status)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        client.send("behind")
        self.assertEqual(client.counts()["connects"], 1)

    def test_nobody_is_there(self) -> None:
        client = self.client(DEAD, retries=0)
        for call in (client.connect, lambda: client.send("x")):
            with self.assertRaises(msock.Unreachable) as caught:
                call()
            self.assertIsInstance(caught.exception, ConnectionError)
            self.assertIn("refused", str(caught.exception))
        outcomes = list(client.send_many(["a", "b"]))
        self.assertEqual([type(o.error) for o in outcomes], [msock.Unreachable] * 2)
        self.assertEqual(client.fileno(), -1)

    def test_a_reply_that_does_not_come_is_a_timeout(self) -> None:
        server = msock.Server("cnp://127.0.0.1:0")
        self.addCleanup(server.close)

        def handle() -> None:
            message = server.receive(PATIENCE)
            assert message is not None
            message.commit()

        thread = threading.Thread(target=handle)
        thread.start()
        client = self.client("cnp://" + server.addresses[0], commit_timeout=0.2, retries=0)
        with self.assertRaises((msock.Timeout, msock.GivenUp)):
            client.send("x", reply=True)
        thread.join()


class Shared(TestCase):
    """What the drop-ins have as a socket."""

    def setUp(self) -> None:
        super().setUp()
        ours, self.peer = socket.socketpair()
        self.addCleanup(self.peer.close)
        self.shared = self.enter(msock._msock.SharedClient("frame://given", sock=ours, timeout=0.1))

    def test_threads_take_and_put_at_the_same_time(self) -> None:
        taken = []
        thread = threading.Thread(target=lambda: taken.append(self.shared.take(PATIENCE)))
        thread.start()
        self.shared.put(b"hello")
        self.assertEqual(self.peer.recv(100), b"\0\0\0\5hello")
        self.peer.sendall(b"\0\0\0\2ok")
        thread.join()
        self.assertEqual(taken, [b"ok"])
        self.assertIsNone(self.shared.take(0.01))
        with self.assertRaises(TypeError):
            self.shared.put(5)

    def test_an_echo(self) -> None:
        self.assertIsNone(self.shared.echo(0.01))
        ended: List[msock.Error] = []

        def echo() -> None:
            try:
                self.shared.echo(PATIENCE)
            except msock.Error as error:
                ended.append(error)

        thread = threading.Thread(target=echo)
        thread.start()
        for body in (b"hello", b"", bytes(300_000)):
            frame = struct.pack(">I", len(body)) + body
            self.peer.sendall(frame)
            self.assertEqual(self.peer.recv(len(frame), socket.MSG_WAITALL), frame)
        self.peer.close()
        thread.join()
        self.assertIsInstance(ended[0], (msock.Unreachable, msock.GivenUp))

    def test_what_is_put_ahead_waits_for_nobodys_answer(self) -> None:
        ours, peer = socket.socketpair()
        url = "tinyproto://given?role=server"
        shared = self.enter(msock._msock.SharedClient(url, sock=ours, timeout=PATIENCE))
        with peer:
            peer.sendall(b"\xff")
            shared.put_ahead(b"hello")
            self.assertEqual(peer.recv(100), b"\xff\0\0\0\5")
            shared.finish(0.01)
            peer.sendall(b"\xff")
            shared.finish(PATIENCE)
            self.assertEqual(peer.recv(100), b"hello")
        with self.assertRaises(msock.Error):
            shared.put_ahead(b"gone")
        shared.close()
        shared.finish(PATIENCE)
        with self.assertRaises(msock.UsageError):
            shared.put_ahead(b"closed")

    def test_what_is_put_ahead_leaves_while_another_thread_takes(self) -> None:
        taker = threading.Thread(target=lambda: self.shared.take(PATIENCE))
        taker.start()
        large = bytes(10_000_000)
        thread = threading.Thread(target=lambda: self.shared.put_ahead(large))
        thread.start()
        self.assertEqual(len(self.peer.recv(len(large) + 4, socket.MSG_WAITALL)), len(large) + 4)
        self.peer.sendall(b"\0\0\0\0")
        taker.join()
        thread.join()

    def test_a_callback_and_a_handler_cannot_use_the_call_that_they_are_in(self) -> None:
        def encode(data: bytes) -> bytes:
            with self.assertRaisesRegex(msock.UsageError, "in use"):
                shared.close()
            return data

        def handler(*unused: Any) -> None:
            with self.assertRaisesRegex(msock.UsageError, "in use"):
                shared.close()
            theirs.close()

        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        shared = msock._msock.SharedClient("frame://given", sock=ours, encode=encode, timeout=PATIENCE)
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, handler))
        shared.put(b"x")
        with interrupted(begun=lambda: theirs.recv(100, socket.MSG_WAITALL)):  # up to the end that close() sends
            shared.close()
        self.assertEqual(theirs.fileno(), -1)

    def test_waits_are_interrupted_and_nothing_is_mixed_up(self) -> None:
        for elsewhere in (False, True):
            with self.assertRaises(KeyboardInterrupt), interrupted(elsewhere):
                self.shared.take(None)
        large = bytes(10_000_000)
        begun = functools.partial(select.select, [self.peer], [], [], PATIENCE)
        with self.assertRaises(KeyboardInterrupt), interrupted(begun=begun):
            self.shared.put(large)
        reader = threading.Thread(target=lambda: self.peer.recv(len(large) + 4, socket.MSG_WAITALL))
        reader.start()
        self.shared.put(b"next")
        reader.join()
        self.assertEqual(self.peer.recv(100), b"\0\0\0\4next")
        self.peer.close()
        for _ in range(2):
            with self.assertRaises(msock.Error):
                self.shared.put(b"gone")
            with self.assertRaises(msock.Unreachable):
                self.shared.take(1)


class Connections(TestCase):
    def test_a_socket_of_the_program(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            client = self.client("frame://given", sock=ours)
            self.assertEqual(ours.fileno(), -1)
            client.send("hello")
            self.assertEqual(theirs.recv(100), b"\0\0\0\5hello")
            theirs.sendall(b"\0\0\0\2ok")
            self.assertEqual(client.receive(PATIENCE), b"ok")
        with self.assertRaises(msock.Unreachable):
            client.receive(PATIENCE)
        with self.assertRaises(msock.Unreachable):
            client.send("again")
        with self.assertRaises(msock.UsageError), socket.socket() as unconnected:
            msock.Client("frame://given", sock=unconnected)
        with self.assertRaises(AttributeError):
            msock.Client("frame://given", sock=5)  # type: ignore[arg-type]

    def test_a_closed_client_is_no_use(self) -> None:
        client = msock.Client(DEAD)
        self.assertFalse(client.closed)
        client.close()
        client.close()
        self.assertTrue(client.closed)
        self.assertIn("closed", repr(client))
        for use in (
            client.connect,
            lambda: client.send("x"),
            lambda: client.send_file(__file__),
            lambda: client.receive(),
            lambda: next(iter(client.send_many(["x"]))),
            client.counts,
            client.fileno,
            lambda: client.acknowledges,
            lambda: client.add_transform(None),
        ):
            with self.assertRaisesRegex(msock.UsageError, "closed"):
                use()

    def test_arguments_are_checked(self) -> None:
        for url in ("http://a", "", "msp://", "msp://a?x=1", "msp://127.0.0.1:99999"):
            with self.assertRaises(msock.UsageError):
                msock.Client(url)
            self.assertIsNotNone(msock.url_error(url))
        self.assertIsNone(msock.url_error("msp://a,b:8001"))
        for options in (
            {"timeout": 0},
            {"timeout": float("nan")},
            {"commit_timeout": -1},
            {"retries": -1},
            {"nack_limit": -1},
            {"backoff": 1e300},
        ):
            with self.assertRaises(ValueError):
                msock.Client(DEAD, **options)  # type: ignore[arg-type]
        for bad in ({"progress": 5}, {"encode": 5}, {"retries": "x"}, {"unknown": 1}, {"key_file": 5}):
            with self.assertRaises(TypeError):
                msock.Client(DEAD, **bad)  # type: ignore[arg-type]
        for bad_url in (5, b"msp://a", "msp://a\0b"):
            with self.assertRaises((TypeError, ValueError)):
                msock.Client(bad_url)  # type: ignore[arg-type]
        client = self.client(DEAD, retries=0)
        for data in (None, 5, 1.5, ["a"], "\ud800"):
            with self.assertRaises((TypeError, ValueError)):
                client.send(data)  # type: ignore[arg-type]
        for timeout in (-1, "x", float("nan")):
            with self.assertRaises((TypeError, ValueError)):
                client.receive(timeout)  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            client.send()  # type: ignore[call-arg]

    def test_a_message_can_be_too_large(self) -> None:
        client = self.client("tinyproto://127.0.0.1:1", retries=0)
        with self.assertRaises(msock.UsageError):
            client.send(bytes((256 << 20) + 1))

    def test_the_url_of_the_environment(self) -> None:
        before = os.environ.get("MSOCK_URL")
        os.environ["MSOCK_URL"] = "msp://nobody.invalid"
        try:
            self.assertEqual(self.client(None).url, "msp://nobody.invalid")
        finally:
            del os.environ["MSOCK_URL"]
            if before is not None:
                os.environ["MSOCK_URL"] = before
        self.assertEqual(self.client(None).url, before or "msp://127.0.0.1:8000")

    def test_classes_may_be_derived(self) -> None:
        class Named(msock.Client):
            name = "mine"

        with Named(DEAD) as client:
            client.note = "kept"
            self.assertEqual(client.name, "mine")

    def test_other_interpreters_are_refused(self) -> None:
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            self.skipTest("this Python has no module for it")
        other = interpreters.create()
        self.addCleanup(interpreters.destroy, other)
        with self.assertRaisesRegex(interpreters.RunFailedError, "ImportError.*main interpreter"):
            interpreters.run_string(other, "import msock")

    def test_the_module_is_one(self) -> None:
        """Also for who imports it again."""
        module = sys.modules.pop("msock._msock")
        self.assertIs(importlib.import_module("msock._msock"), module)

    def test_exceptions_can_be_pickled(self) -> None:
        error = pickle.loads(pickle.dumps(msock.Refused("a sentence", "busy")))
        self.assertEqual((str(error), error.code), ("a sentence", "busy"))

    def test_packets_without_a_client(self) -> None:
        packet = msock.encode("J", '{"hello":"world"}', b"order-1", reply=True)
        self.assertEqual(packet[-7:], b"order-1")
        self.assertEqual(len(packet), 67 + 17)
        self.assertEqual(msock.decode(b"ACK 16384\r\nACK"), (11, "ACK", 16384))
        self.assertEqual(msock.decode(b"REJ bad-json x\r\n"), (16, "REJ", 0))
        self.assertIsNone(msock.decode(b"ACK"))
        released = memoryview(b"x")
        released.release()
        with self.assertRaisesRegex(ValueError, "released"):
            msock.encode("A", released)
        for bad in (("X", b""), ("A", bytes(3000))):
            with self.assertRaises(msock.UsageError):
                msock.encode(*bad)
        with self.assertRaises(msock.UsageError):
            msock.decode(b"HTTP/1.1 200 OK\r\n")
