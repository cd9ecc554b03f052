"""msock.Server: messages one at a time and with callbacks, threads beside it, bad input."""

import ctypes
import gc
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import weakref
from typing import Any, Callable, List, Optional, Tuple

import msock
from support import PATIENCE, TestCase, interrupted, until


class Sender(threading.Thread):
    """Sends in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self.call = call
        self.result: Any = None
        self.error: Optional[Exception] = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.call()
        except Exception as error:
            self.error = error


class LogLines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: List[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


M_PERTURB = -6  # of mallopt(3)


def connected(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    return peer


class ServerCase(TestCase):
    def server(self, *urls: str, **options: Any) -> msock.Server:
        return self.enter(msock.Server(*urls, **options))

    def sender(self, call: Callable[[], Any]) -> Sender:
        sender = Sender(call)
        self.addCleanup(sender.join)
        return sender

    def log(self) -> List[str]:
        handler = LogLines()
        logger = logging.getLogger("msock")
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        return handler.lines

    def receive(self, server: msock.Server) -> msock.Message:
        message = server.receive(PATIENCE)
        assert message is not None
        return message


class OneAtATime(ServerCase):
    def test_a_message_is_what_its_sender_has_sent(self) -> None:
        server = self.server("auto://127.0.0.1:0")
        client = self.client("msp://" + server.addresses[0])
        sender = self.sender(lambda: client.send_json({"a": 1}, id="order-1", reply=True))
        message = self.receive(server)
        self.assertEqual(message.data, b'{"a":1}')
        self.assertEqual(message.text, '{"a":1}')
        self.assertEqual(message.json(), {"a": 1})
        self.assertEqual((message.kind, message.id, message.protocol), ("J", "order-1", "msp"))
        self.assertEqual(message.sha256.hex()[:8], "015abd7f")
        self.assertTrue(message.wants_reply)
        self.assertFalse(message.settled)
        connection = message.connection
        assert connection is not None
        self.assertEqual(connection.peer, message.peer)
        self.assertEqual(connection.protocol, "msp")
        self.assertFalse(connection.closed)
        message.commit("thanks")
        sender.join()
        self.assertEqual(sender.result.reply, b"thanks")
        self.assertEqual(message.data, b'{"a":1}')
        self.assertTrue(message.settled)
        for settle in (message.commit, message.refuse, message.fail, message.reply):
            with self.assertRaisesRegex(msock.UsageError, "settled"):
                settle()
        sender = self.sender(lambda: client.send("x"))
        message = self.receive(server)
        self.assertIs(message.connection, connection)
        message.commit()
        with self.assertRaises(msock.UsageError):
            message.data
        counts = server.counts()
        self.assertEqual((counts["messages"], counts["accepted"], counts["open"]), (2, 1, 1))

    def test_senders_hear_what_became_of_a_message(self) -> None:
        server = self.server("msp://127.0.0.1:0")
        client = self.client("msp://" + server.addresses[0], retries=0)
        sender = self.sender(lambda: client.send("x"))
        self.receive(server).refuse("not today")
        sender.join()
        self.assertIsInstance(sender.error, msock.Refused)
        self.assertIn("not today", str(sender.error))
        for settle in (lambda m: m.fail("no disk"), lambda m: None):
            sender = self.sender(lambda: client.send("x"))
            settle(self.receive(server))  # let go of: it fails at once
            sender.join()
            self.assertIsInstance(sender.error, msock.GivenUp)
            assert isinstance(sender.error, msock.GivenUp)
            self.assertEqual(sender.error.code, "internal")

    def test_large_messages_and_files(self) -> None:
        facts: List[Any] = []

        def handle(message: msock.Message) -> bytes:
            facts.append((message.kind, message.id))
            return message.data

        client = self.client("msp://" + self.served("msp://127.0.0.1:0", handle))
        large = os.urandom(2_000_000)
        path = self.path("disk.img", large)
        self.assertEqual(client.send_file(path, "a/b", reply=True).reply, large)
        self.assertEqual(facts, [("F", "a/b")])

    def test_nothing_comes(self) -> None:
        server = self.server("auto://127.0.0.1:0")
        with self.assertRaises(msock.Timeout):
            server.receive(0.01)
        for elsewhere in (False, True):
            with self.assertRaises(KeyboardInterrupt), interrupted(elsewhere):
                server.receive()
        server.stop()
        self.assertIsNone(server.receive())
        self.assertEqual(list(server), [])

    def test_connections_do_not_put_off_a_timeout(self) -> None:
        server = self.server("auto://127.0.0.1:0")
        host, _, port = server.addresses[0].rpartition(":")
        is_over = threading.Event()

        def knock() -> None:
            while not is_over.wait(0.02):
                socket.create_connection((host, int(port))).close()

        thread = threading.Thread(target=knock)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(is_over.set)
        timer = threading.Timer(PATIENCE, server.stop)
        timer.start()
        with self.assertRaises(msock.Timeout):
            server.receive(0.2)
        timer.cancel()

    def test_stop_ends_the_loop_from_another_thread(self) -> None:
        server = self.server("auto://127.0.0.1:0")
        timer = threading.Timer(0.05, server.stop)
        timer.start()
        self.assertEqual(list(server), [])
        timer.join()

    def test_close_ends_it_too(self) -> None:
        server = self.server("auto://127.0.0.1:0")
        timer = threading.Timer(0.05, server.close)
        timer.start()
        with self.assertRaisesRegex(msock.UsageError, "closed"):
            server.receive()
        timer.join()
        server.close()
        self.assertTrue(server.closed)
        for use in (server.receive, server.counts, server.waits, lambda: server.addresses):
            with self.assertRaises(msock.UsageError):
                use()
        server.stop()

    def test_messages_and_connections_outlive_their_server(self) -> None:
        server = self.server("msp://127.0.0.1:0")
        client = self.client("msp://" + server.addresses[0], retries=0)
        sender = self.sender(lambda: client.send("x"))
        message = self.receive(server)
        connection = message.connection
        assert connection is not None
        server.close()
        sender.join()
        self.assertIsInstance(sender.error, msock.Error)
        self.assertTrue(message.settled)
        self.assertTrue(connection.closed)
        with self.assertRaises(msock.UsageError):
            message.commit()
        with self.assertRaises(msock.Error):
            connection.write("x")

    def test_the_child_of_a_fork_does_nothing(self) -> None:
        server = self.server("msp://127.0.0.1:0")
        with self.assertRaises(msock.Timeout):
            server.receive(0)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                server.receive(0)
            except msock.UsageError:
                server.close()
                status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        client = self.client("msp://" + server.addresses[0])
        sender = self.sender(lambda: client.send("x"))
        self.receive(server).commit()
        sender.join()
        self.assertIsNone(sender.error)


class Threads(ServerCase):
    def test_any_thread_settles_while_one_receives(self) -> None:
        server = self.server("msp://127.0.0.1:0")
        senders = []
        for _ in range(8):
            client = self.client("msp://" + server.addresses[0])
            senders.append(self.sender(lambda c=client: [c.send(str(i), reply=True) for i in range(50)]))
        waiting: List[threading.Thread] = []
        for _ in range(400):
            message = self.receive(server)
            thread = threading.Thread(target=message.commit, args=(message.data,))
            thread.start()
            waiting.append(thread)
        for thread in waiting + senders:
            thread.join()
        for sender in senders:
            self.assertEqual([sent.reply for sent in sender.result], [b"%d" % i for i in range(50)])

    def test_a_thread_that_is_gone_with_the_interpreter_keeps_nobody_waiting(self) -> None:
        program = """if True:
            import msock, os, socket, sys, threading
            server = msock.Server("frame://127.0.0.1:0")
            host, port = server.addresses[0].split(":")
            peer = socket.create_connection((host, int(port)))
            peer.sendall(bytes(4))
            message = server.receive()
            connection = message.connection
            message.commit()
            try:
                while True:
                    connection.write(bytes(500000), 0)
            except msock.Timeout:
                threading.Thread(target=connection.write, args=(b"x",), daemon=True).start()
            class Late:
                def __init__(self, *kept):
                    self.server, self.write = kept
                def __del__(self):
                    try:
                        self.server.close()
                    finally:
                        self.write(1, b"closed")
            sys.late = Late(server, os.write)
            """
        ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=PATIENCE)
        self.assertEqual((ran.returncode, ran.stdout), (0, b"closed"))

    def test_one_thread_receives(self) -> None:
        server = self.server("msp://127.0.0.1:0")
        sender = self.sender(lambda: server.receive(PATIENCE))

        def refused() -> bool:
            try:
                server.events(0)
            except msock.UsageError:
                return True
            return False

        until(refused)
        server.stop()
        sender.join()
        self.assertIsNone(sender.result)
        self.assertIsNone(sender.error)

    def test_a_settled_message_makes_room_for_others(self) -> None:
        """At 1,024 unsettled messages a connection is not read any more; a commit changes that."""
        server = self.server("msp://127.0.0.1:0")
        client = self.client("msp://" + server.addresses[0])
        sender = self.sender(lambda: len(list(client.send_many(["x"] * 1500))))
        held = [self.receive(server) for _ in range(1024)]
        with self.assertRaises(msock.Timeout):
            server.receive(0.05)
        timer = threading.Timer(0.05, lambda: [message.commit() for message in held])
        timer.start()
        for _ in range(1500 - 1024):
            self.receive(server).commit()
        sender.join()
        self.assertEqual(sender.result, 1500)


    def test_other_threads_run_while_a_listener_is_made(self) -> None:
        """A name may have to be looked up."""
        server = self.server()
        ran: List[int] = []
        may_run = threading.Lock()
        may_run.acquire()

        def run() -> None:
            with may_run:
                ran.append(1)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1000)  # nobody makes this thread let go
        may_run.release()
        for _ in range(100_000):
            try:
                server.add_listener("none://")
            except msock.UsageError:
                pass
            if ran:
                return
        self.fail("no other thread ran")

    def test_other_threads_run_while_a_large_message_is_read(self) -> None:
        server = self.server("msp://127.0.0.1:0")
        client = self.client("msp://" + server.addresses[0])
        state = {"within": False, "ran": False, "over": False}

        def run() -> None:
            while not state["over"]:
                state["ran"] |= state["within"]
                time.sleep(0)

        def send() -> None:
            while not state["over"]:
                client.send(bytes(1 << 20))

        threads = [threading.Thread(target=run), self.sender(send)]
        threads[0].start()
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1000)  # nobody makes this thread let go
        for left in range(500, 0, -1):
            message = self.receive(server)
            state["within"] = True
            size = len(message.data)
            state["within"] = False
            state["over"] = state["ran"] or left == 1
            message.commit()
            if state["over"]:
                break
        for thread in threads:
            thread.join()
        self.assertTrue(state["ran"])
        self.assertEqual(message.size, size)


class Running(ServerCase):
    def run_server(self, server: msock.Server, *arguments: Any, **options: Any) -> threading.Thread:
        thread = threading.Thread(target=server.run, args=arguments, kwargs=options)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.stop)
        return thread

    def test_what_a_callback_returns_is_the_reply(self) -> None:
        log = self.log()
        answers = {"bytes": b"ok", "str": "ok", "none": None}

        def on_message(message: msock.Message) -> Any:
            if message.text == "own":
                message.commit("own")
            elif message.text == "fails":
                raise LookupError("what is that?")
            elif message.text == "settled, then fails":
                message.commit("done")
                raise LookupError
            elif message.text == "wrong":
                return 5
            return answers.get(message.text)

        server = self.server("msp://127.0.0.1:0")
        self.run_server(server, on_message)
        client = self.client("msp://" + server.addresses[0])
        replies = [client.send(text, reply=True).reply for text in (*answers, "own")]
        self.assertEqual(replies, [b"ok", b"ok", b"", b"own"])
        self.assertEqual(client.send("settled, then fails", reply=True).reply, b"done")
        for text in ("fails", "wrong"):
            with self.assertRaisesRegex(msock.Refused, "the receiving program has failed"):
                client.send(text)
        self.assertIn("LookupError: what is that?", "\n".join(log))
        self.assertIn("Traceback", "\n".join(log))

    def test_connections_are_told_and_written_to(self) -> None:
        server = self.server("frame://127.0.0.1:0")
        members: List[msock.Connection] = []
        gone: List[str] = []

        def on_message(message: msock.Message) -> msock._server.Later:
            assert message.connection is not None
            message.connection.state = message.text
            for member in members:
                member.write(message.data)
            message.commit()
            return msock.LATER

        def on_close(connection: msock.Connection) -> None:
            members.remove(connection)
            gone.append(connection.state)
            self.assertTrue(connection.closed)
            self.assertEqual(connection.protocol, "frame")

        self.run_server(server, on_message, members.append, on_close)
        first = self.client("frame://" + server.addresses[0])
        second = self.client("frame://" + server.addresses[0])
        first.connect()
        second.connect()
        until(lambda: len(members) == 2)
        first.send("hello")
        self.assertEqual([c.receive(PATIENCE) for c in (first, second)], [b"hello"] * 2)
        first.close()
        until(lambda: gone == ["hello"])
        members[0].disconnect()
        with self.assertRaises(msock.Unreachable):
            second.receive(PATIENCE)
        until(lambda: gone == ["hello", None])

    def test_a_write_waits_for_its_peer(self) -> None:
        server = self.server("frame://127.0.0.1:0?send_queue_max=64KiB")
        members: List[msock.Connection] = []
        self.run_server(server, lambda message: None, members.append)
        host, _, port = server.addresses[0].rpartition(":")
        with socket.create_connection((host, int(port))) as peer:
            until(lambda: members)
            data = bytes(1 << 20)
            with self.assertRaises(msock.Timeout):
                for _ in range(100):
                    members[0].write(data, timeout=0.01)
            with self.assertRaises(KeyboardInterrupt), interrupted():
                members[0].write(data)
            sender = self.sender(lambda: members[0].write(b"last"))
            while True:
                head = peer.recv(4, socket.MSG_WAITALL)
                body = peer.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL)
                if body == b"last":
                    break
            sender.join()
            self.assertIsNone(sender.error)
        until(lambda: members[0].closed)
        with self.assertRaises(msock.Unreachable):
            members[0].write("x")

    def test_who_has_gone_meanwhile_is_told_as_it_was(self) -> None:
        path = os.path.join(self.directory, "socket")
        server = self.server(f"frame://{path}?send_queue_max=64KiB")
        ctypes.CDLL(None).mallopt(M_PERTURB, 0x55)  # what is freed does not look as it was
        self.addCleanup(ctypes.CDLL(None).mallopt, M_PERTURB, 0)
        with connected(path):
            ((first, _),) = server.events(PATIENCE)
            for _ in range(5):
                connected(path).close()
            with self.assertRaises(msock.Timeout):
                for _ in range(100):
                    first.write(bytes(1 << 20), timeout=0.1)
            told: List[Any] = []
            while len(told) < 10 and (more := server.events(PATIENCE)):
                told += more
        self.assertEqual(len(told), 10)  # each is opened and closed
        self.assertEqual({connection.identity for connection, _ in told}, {first.identity})
        self.assertTrue(first.identity.startswith("user:"))

    def test_ticks_and_failing_callbacks(self) -> None:
        log = self.log()
        ticks: List[int] = []

        def on_tick() -> None:
            ticks.append(1)
            if len(ticks) == 3:
                server.stop()
            raise LookupError("tick")

        server = self.server("frame://127.0.0.1:0")
        server.run(lambda message: None, on_tick=on_tick, tick=0.01)
        self.assertEqual(len(ticks), 3)
        self.assertIn("LookupError: tick", "\n".join(log))

    def test_messages_under_way_are_finished(self) -> None:
        server = self.server("frame://127.0.0.1:0")
        host, _, port = server.addresses[0].rpartition(":")
        with socket.create_connection((host, int(port))) as peer:

            def on_message(message: msock.Message) -> bytes:
                if message.text == "first":
                    server.stop()
                    peer.sendall(b"nd")
                return message.data

            peer.sendall(b"\0\0\0\5first\0\0\0\6seco")
            server.run(on_message, drain=PATIENCE)
            self.assertEqual(peer.recv(100, socket.MSG_WAITALL)[-6:], b"second")

    def draining(self, log: "List[str]", held: "List[msock.Message]") -> "Tuple[Callable[[], None], socket.socket]":
        """The run() of a server that stops with its first message and holds it, and the sender."""
        server = self.server("frame://127.0.0.1:0", log=lambda level, text: log.append(text or ""))
        host, _, port = server.addresses[0].rpartition(":")
        peer = self.enter(socket.create_connection((host, int(port))))
        peer.sendall(b"\0\0\0\5hello")

        def hold(message: msock.Message) -> Any:
            held.append(message)
            server.stop()
            return msock.LATER

        return lambda: server.run(hold, drain=PATIENCE), peer

    def test_another_thread_settles_the_last_message(self) -> None:
        log: List[str] = []
        held: List[msock.Message] = []
        run, peer = self.draining(log, held)
        receiver = self.sender(run)
        until(lambda: "draining 1 connections: stopped" in log)
        self.assertTrue(receiver.is_alive())
        held.pop().commit("done")
        self.assertEqual(peer.recv(100), b"\0\0\0\4done")
        peer.close()
        receiver.join(PATIENCE / 2)
        self.assertFalse(receiver.is_alive())

    def test_an_interrupt_ends_the_drain(self) -> None:
        held: List[msock.Message] = []
        run, _ = self.draining([], held)
        with self.assertRaises(KeyboardInterrupt), interrupted(begun=lambda: until(lambda: held)):
            run()

    def test_an_interrupt_ends_run(self) -> None:
        server = self.server("frame://127.0.0.1:0")
        with self.assertRaises(KeyboardInterrupt), interrupted():
            server.run(lambda message: None)

    def test_an_interrupt_within_a_function_of_the_server(self) -> None:
        """A signal comes to whatever of the program runs: it is no failure of a transform or a log."""

        def interrupt(*args: Any) -> bytes:
            raise KeyboardInterrupt

        server = self.server("msp://127.0.0.1:0", decode=interrupt)
        client = self.client("msp://" + server.addresses[0], retries=0)
        self.sender(lambda: client.send("x"))
        with self.assertRaises(KeyboardInterrupt):
            server.run(lambda message: None)
        server.close()
        server = self.server("msp://127.0.0.1:0", log=interrupt)
        server.stop()
        with self.assertRaises(KeyboardInterrupt):
            server.run(lambda message: None)

    def test_transforms(self) -> None:
        log = self.log()

        def decode(data: bytes) -> bytes:
            if data == b"BAD":
                raise LookupError("bad")
            if data == b"USE":
                server.counts()
            return data.lower()

        server = self.server("msp://127.0.0.1:0", encode=bytes.upper, decode=decode)
        self.run_server(server, lambda message: message.text + " back")
        client = self.client("msp://" + server.addresses[0])
        self.assertEqual(client.send("HELLO", reply=True).reply, b"HELLO BACK")
        for text, line in (("BAD", "LookupError: bad"), ("USE", "a transform cannot use its server")):
            with self.assertRaises(msock.Refused):
                client.send(text)
            self.assertIn(line, "\n".join(log))


class Arguments(ServerCase):
    def test_arguments_are_checked(self) -> None:
        for url in ("http://a", "msp://127.0.0.1:0?handler=echo", "frame://127.0.0.1:0?framing=x"):
            with self.assertRaises(msock.UsageError):
                msock.Server(url)
        with self.assertRaises(msock.LocalError):
            msock.Server("msp:///nonexistent/dir/sock")
        with self.assertRaises(ValueError):
            msock.Server("msp://127.0.0.1:0\0")
        self.server("auto://127.0.0.1:0", timeout=3_999_999, idle_timeout=3_999_999)
        for options in ({"connections": 0}, {"timeout": -1}, {"idle_timeout": 0}):
            with self.assertRaises(ValueError):
                msock.Server("msp://127.0.0.1:0", **options)  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            msock.Server(5)  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            msock.Server(encode=5)  # type: ignore[arg-type]
        server = self.server()
        with self.assertRaisesRegex(msock.UsageError, "listener"):
            server.receive(0)
        with self.assertRaises(msock.UsageError):
            server.run(None)  # type: ignore[arg-type]
        server.add_listener("auto://127.0.0.1:0")
        server.add_listener(f"msp://{self.path('sock')}")
        self.assertEqual(server.addresses[1], self.path("sock"))
        with self.assertRaises(msock.Timeout):
            server.receive(0)
        with self.assertRaises(msock.UsageError):
            server.add_listener("auto://127.0.0.1:0")
        with self.assertRaises(msock.UsageError):
            server.add_transform(None, None)
        with self.assertRaises(TypeError):
            server.receive("x")  # type: ignore[arg-type]

    def test_a_reply_is_checked(self) -> None:
        server = self.server("msp://127.0.0.1:0")
        client = self.client("msp://" + server.addresses[0], retries=0)
        sender = self.sender(lambda: client.send("x", reply=True))
        message = self.receive(server)
        with self.assertRaises(TypeError):
            message.commit(5)  # type: ignore[arg-type]
        with self.assertRaises((TypeError, ValueError)):
            message.refuse("a\0b")
        message.commit(bytes((16 << 20) + 1))
        sender.join()
        self.assertIsInstance(sender.error, msock.GivenUp)

    def test_objects_are_made_by_a_server_alone(self) -> None:
        for kind in (msock.Message, msock.Connection):
            with self.assertRaises(TypeError):
                kind()

    def test_a_server_in_a_cycle_is_collected(self) -> None:
        server = msock.Server("msp://127.0.0.1:0", log=lambda level, text: holder)
        holder = [server]
        gone = weakref.finalize(server, lambda: None)
        address = server.addresses[0]
        del server, holder[:], holder
        gc.collect()
        self.assertFalse(gone.alive)
        host, _, port = address.rpartition(":")
        with self.assertRaises(ConnectionError):
            socket.create_connection((host, int(port)))

    def test_lines_of_the_log(self) -> None:
        lines: List[Any] = []
        server = self.server("frame://127.0.0.1:0", log=lambda *line: lines.append(line))
        server.stop()
        server.run(lambda message: None)
        self.assertIn((3, "draining 0 connections: stopped"), lines)
