"""msock.aio: both halves in one event loop, without threads, and tasks that are cancelled."""

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
from typing import Any, AsyncIterator, Awaitable, Callable, List

import msock
import msock.aio
from support import PATIENCE, TestCase, until

DEAD = "msp://127.0.0.1:1"


async def echo(message: msock.Message) -> bytes:
    return message.data


class AioCase(TestCase):
    def loop(self, main: Callable[[], Awaitable[Any]]) -> Any:
        async def limited() -> Any:
            return await asyncio.wait_for(main(), PATIENCE)

        before = threading.active_count()
        result = asyncio.run(limited())
        self.assertEqual(threading.active_count(), before)
        return result


class Both(AioCase):
    def test_messages_and_replies(self) -> None:
        async def main() -> None:
            async with msock.aio.Server("auto://127.0.0.1:0") as server:
                task = asyncio.ensure_future(server.run(echo))
                for protocol in ("msp", "tinyproto", "cnp", "frame"):
                    async with msock.aio.Client(f"{protocol}://{server.addresses[0]}") as client:
                        await client.connect()
                        calls = (client.send(str(i), reply=True) for i in range(20))
                        sent = await asyncio.gather(*calls)
                        self.assertEqual([s.reply for s in sent], [b"%d" % i for i in range(20)])
                        self.assertEqual(client.connected_to, server.addresses[0])
                        self.assertEqual(client.counts()["messages"], 20)
                        large = os.urandom(2_000_000)
                        self.assertEqual((await client.send(large, reply=True)).reply, large)
                self.assertEqual(server.counts()["messages"], 84)
                server.stop()
                await task

        self.loop(main)

    def test_documents_files_and_refusals(self) -> None:
        path = self.path("a file", b"content")
        fifo = self.path("fifo")
        os.mkfifo(fifo)

        async def handle(message: msock.Message) -> Any:
            if message.kind == "J":
                raise LookupError(message.json())
            return f"{message.kind} {message.id} {message.text}"

        async def main() -> None:
            async with msock.aio.Server("msp://127.0.0.1:0") as server:
                task = asyncio.ensure_future(server.run(handle))
                async with msock.aio.Client("msp://" + server.addresses[0]) as client:
                    sent = await client.send_file(path, "n", reply=True)
                    self.assertEqual(sent.reply, b"F n content")
                    pipe = asyncio.ensure_future(client.send_file(fifo, "p", reply=True))
                    await asyncio.sleep(0.01)
                    with open(fifo, "wb") as writer:
                        writer.write(b"piped")
                    self.assertEqual((await pipe).reply, b"F p piped")
                    with open(os.devnull, "rb") as null:  # epoll(7) takes none of these
                        sent = await client.send_file(null, "empty", reply=True)
                    self.assertEqual(sent.reply, b"F empty ")
                    with self.assertRaises(msock.Refused):
                        await client.send_json([1])
                    with self.assertRaises(msock.UsageError):
                        await client.receive()
                    with self.assertRaises(TypeError):
                        await client.send(5)
                    sent = await client.send("x", id="i", reply=True)
                    self.assertEqual((sent.id, sent.reply), ("i", b"A i x"))
                with self.assertRaisesRegex(msock.UsageError, "closed"):
                    await client.send("x")
                await client.close()
                server.stop()
                await task

        self.loop(main)

    def test_iteration_and_receive(self) -> None:
        async def main() -> None:
            async with msock.aio.Server("frame://127.0.0.1:0") as server:
                with self.assertRaises(msock.Timeout):
                    await server.receive(0.01)
                url = "frame://" + server.addresses[0]
                async with msock.aio.Client(url) as client:
                    sending = asyncio.ensure_future(client.send("hello", reply=True))
                    async for message in server:
                        await asyncio.sleep(0)
                        message.commit(message.text + " back")
                        break
                    self.assertEqual((await sending).reply, b"hello back")
                    waiting = asyncio.ensure_future(server.receive())
                    await asyncio.sleep(0)
                    with self.assertRaises(msock.UsageError):
                        await server.receive()
                    server.stop()
                    self.assertIsNone(await waiting)

        self.loop(main)

    def test_many(self) -> None:
        async def slowly() -> AsyncIterator[str]:
            for i in range(3):
                yield str(i)
                await until_received(i + 1)

        received: List[str] = []

        async def until_received(count: int) -> None:
            while len(received) < count:
                await asyncio.sleep(0)

        async def handle(message: msock.Message) -> None:
            received.append(message.text)

        async def main() -> None:
            async with msock.aio.Server("msp://127.0.0.1:0") as server:
                task = asyncio.ensure_future(server.run(handle))
                async with msock.aio.Client("msp://" + server.addresses[0]) as client:
                    outcomes = [o async for o in client.send_many(slowly())]
                    self.assertEqual([o.error for o in outcomes], [None] * 3)
                    items = ((f"{i}", f"id-{i}") for i in range(2500))
                    ids = [o.id async for o in client.send_many(items)]
                    self.assertEqual(ids, [f"id-{i}" for i in range(2500)])
                    outcomes = [o async for o in client.send_many([{}, []], json=True)]
                    self.assertEqual([o.number for o in outcomes], [0, 1])
                    async for outcome in client.send_many(["a"] * 2000):
                        break
                    await client.send("behind")
                self.assertEqual(received[:3], ["0", "1", "2"])
                server.stop()
                await task

        self.loop(main)

    def test_connections_are_written_to(self) -> None:
        members: List[msock.Connection] = []
        closed: List[msock.Connection] = []

        async def main() -> None:
            async with msock.aio.Server("frame://127.0.0.1:0?send_queue_max=64KiB") as server:
                task = asyncio.ensure_future(server.run(echo, members.append, closed.append))
                async with msock.aio.Client("frame://" + server.addresses[0]) as client:
                    await client.connect()
                    while not members:
                        await asyncio.sleep(0)
                    await server.write(members[0], "hello")
                    self.assertEqual(await client.receive(PATIENCE), b"hello")
                    data = bytes(1 << 20)
                    writes = [server.write(members[0], data) for _ in range(30)]
                    writing = asyncio.gather(*writes)
                    for _ in range(30):
                        self.assertEqual(await client.receive(PATIENCE), data)
                    await writing
                while not closed:
                    await asyncio.sleep(0)
                with self.assertRaises(msock.Unreachable):
                    await server.write(members[0], "gone")
                server.stop()
                await task

        self.loop(main)

    def test_close_ends_a_write_that_waits(self) -> None:
        members: List[msock.Connection] = []

        async def main() -> None:
            server = msock.aio.Server("frame://127.0.0.1:0?send_queue_max=64KiB")
            host, _, port = server.addresses[0].rpartition(":")
            receiving = asyncio.ensure_future(server.run(echo, members.append))
            with socket.create_connection((host, int(port))):
                while not members:
                    await asyncio.sleep(0)
                writes = (server.write(members[0], bytes(1 << 20)) for _ in range(100))
                writing = asyncio.gather(*writes)
                while not server._writers:
                    await asyncio.sleep(0)
                server.close()
                for task in (writing, receiving):
                    with self.assertRaisesRegex(msock.UsageError, "closed"):
                        await task

        self.loop(main)


class Waits(AioCase):
    def test_the_loop_goes_on_while_a_call_waits(self) -> None:
        async def main() -> None:
            async with msock.aio.Client(DEAD, retries=1000, backoff=10, backoff_max=10) as client:
                waiting = asyncio.ensure_future(client.send("x"))
                for _ in range(100):
                    await asyncio.sleep(0)
                self.assertFalse(waiting.done())
                with self.assertRaises(msock.UsageError):
                    client.counts()
                waiting.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await waiting

        self.loop(main)

    def test_a_cancelled_call_leaves_a_client_that_works(self) -> None:
        async def main() -> None:
            async with msock.aio.Server("msp://127.0.0.1:0") as server:
                async with msock.aio.Client("msp://" + server.addresses[0]) as client:
                    sending = asyncio.ensure_future(client.send("first", id="1"))
                    message = await server.receive()
                    assert message is not None
                    sending.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await sending
                    message.commit()
                    task = asyncio.ensure_future(server.run(echo))
                    self.assertEqual((await client.send("second", reply=True)).reply, b"second")
                    server.stop()
                    await task

        self.loop(main)

    def test_a_message_that_comes_with_the_cancelling_stays(self) -> None:
        async def main() -> None:
            ours, theirs = socket.socketpair()
            self.addCleanup(theirs.close)
            async with msock.aio.Client("frame://given", sock=ours) as client:
                receiving = asyncio.ensure_future(client.receive())
                for _ in range(10):
                    await asyncio.sleep(0)
                theirs.sendall(b"\0\0\0\5hello")
                theirs.close()
                receiving.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await receiving
                self.assertEqual(await client.receive(), b"hello")
                with self.assertRaises(msock.Unreachable):
                    await client.receive()

        self.loop(main)

    def test_waits_that_are_cancelled(self) -> None:
        listener = self.enter(socket.create_server(("127.0.0.1", 0)))
        silent = "127.0.0.1:%d" % listener.getsockname()[1]

        async def main() -> None:
            for url, call in (
                ("msp://" + silent, lambda c: c.send("x")),
                ("cnp://" + silent, lambda c: c.connect()),
                ("frame://" + silent, lambda c: c.receive()),
                ("msp://nobody.invalid", lambda c: c.send("x")),
            ):
                async with msock.aio.Client(url, timeout=100, retries=1000) as client:
                    with self.assertRaises(asyncio.TimeoutError):
                        await asyncio.wait_for(call(client), 0.05)

        self.loop(main)

    def test_an_operation_that_nobody_finishes(self) -> None:
        client = msock._msock.LoopClient(DEAD, retries=1000)
        operation = client.send("x")
        while (waits := operation.step()) is not None and waits[1] is None:
            time.sleep(0.001)
        with self.assertRaises(msock.UsageError):
            client.send("y")
        del operation
        gc.collect()
        operation = client.send("y")
        operation.step()
        self.assertIsNone(operation.step(True))
        with self.assertRaises(msock.Cancelled):
            operation.result()
        with self.assertRaises(msock.UsageError):
            operation.result()
        self.assertIsNone(operation.step())
        client.close().result()

    def test_callbacks_run_in_the_loop_and_may_fail(self) -> None:
        threads = []

        def progress(done: int, total: int) -> None:
            threads.append(threading.current_thread())
            if total == 4:
                raise LookupError("four")

        async def main() -> None:
            async with msock.aio.Server("msp://127.0.0.1:0") as server:
                task = asyncio.ensure_future(server.run(echo))
                options = {"progress": progress, "encode": bytes.upper, "decode": bytes.lower}
                url = "msp://" + server.addresses[0]
                async with msock.aio.Client(url, **options) as client:
                    self.assertEqual((await client.send("Hello", reply=True)).reply, b"hello")
                    with self.assertRaises(LookupError):
                        await client.send("four")
                    client.add_transform(None, None)
                server.stop()
                await task

        self.loop(main)
        self.assertEqual(set(threads), {threading.main_thread()})

    def test_a_socket_of_the_program_is_used_first_of_all(self) -> None:
        async def main() -> None:
            async with msock.aio.Server("frame://127.0.0.1:0") as server:
                host, _, port = server.addresses[0].rpartition(":")

                def client() -> msock.aio.Client:
                    sock = socket.create_connection((host, int(port)))
                    self.addCleanup(sock.close)
                    socks.append(sock)
                    return msock.aio.Client("frame://127.0.0.1:1", sock=sock, retries=0)

                socks: List[socket.socket] = []
                task = asyncio.ensure_future(server.run(echo))
                async with client() as many:
                    self.assertEqual([o.error async for o in many.send_many(["a", "b"])], [None] * 2)
                    self.assertIn(await many.receive(default=None), (b"a", b"b"))
                async with client():
                    pass
                self.assertEqual([sock.fileno() for sock in socks], [-1] * 2)
                server.stop()
                await task

        self.loop(main)

    def test_connections_do_not_put_off_a_timeout(self) -> None:
        async def main() -> None:
            async with msock.aio.Server("frame://127.0.0.1:0") as server:
                host, _, port = server.addresses[0].rpartition(":")

                async def knock() -> None:
                    while True:
                        _, writer = await asyncio.open_connection(host, int(port))
                        writer.close()

                task = asyncio.ensure_future(knock())
                with self.assertRaises(msock.Timeout):
                    await server.receive(0.2)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        self.loop(main)

    def test_a_client_may_be_made_before_its_loop(self) -> None:
        ours, theirs = socket.socketpair()
        client = msock.aio.Client("frame://given", sock=ours)
        self.assertEqual(client.url, "frame://given")

        async def main() -> None:
            await client.send("hello")
            self.assertEqual(theirs.recv(100), b"\0\0\0\5hello")
            theirs.close()
            with self.assertRaises(msock.Unreachable):
                await client.receive()
            await client.close()

        self.loop(main)
        self.assertTrue(client.closed)

    def test_a_client_goes_from_loop_to_loop(self) -> None:
        """Also one whose tasks have waited for each other, and one whose loop was closed within a call."""
        waiting = threading.Event()
        handle: Callable[[msock.Message], Any] = lambda message: waiting.wait(PATIENCE) and message.data
        address = self.served("msp://127.0.0.1:0", handle)
        silent = self.enter(socket.create_server(("127.0.0.1", 0)))
        client = msock.aio.Client(f"msp://{address}")
        cut = msock.aio.Client("msp://127.0.0.1:%d" % silent.getsockname()[1], timeout=PATIENCE)

        async def main() -> None:
            waiting.clear()
            sending = asyncio.gather(*(client.send("x", reply=True) for _ in range(9)))
            await asyncio.sleep(0)
            waiting.set()
            self.assertEqual([s.reply for s in await sending], [b"x"] * 9)

        async def end() -> None:
            await client.close()
            await cut.close(0)

        with self.assertLogs("asyncio", "ERROR"):  # that the task is pending
            loop = asyncio.new_event_loop()
            task = loop.create_task(cut.send("x"))
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            del task
            gc.collect()
        for part in (main, main, end):
            self.loop(part)

    def test_a_number_that_close_has_freed_is_not_watched(self) -> None:
        async def main() -> None:
            server = msock.aio.Server("msp://127.0.0.1:0")
            receiving = asyncio.ensure_future(server.receive())
            while not server._is_receiving:
                await asyncio.sleep(0)
            reading, writing = socket.socketpair()
            reading.setblocking(False)
            before = set(os.listdir("/proc/self/fd"))
            server.close()
            freed = before - set(os.listdir("/proc/self/fd"))
            with contextlib.ExitStack() as stack:
                stack.enter_context(writing)
                stack.enter_context(reading)
                loop = asyncio.get_running_loop()
                reads = []
                for number in freed:
                    os.dup2(reading.fileno(), int(number))
                    again = stack.enter_context(socket.socket(fileno=int(number)))
                    again.setblocking(False)
                    reads.append(asyncio.ensure_future(loop.sock_recv(again, 1)))
                with self.assertRaisesRegex(msock.UsageError, "closed"):
                    await receiving
                writing.sendall(b"x" * len(reads))
                await asyncio.gather(*reads)

        self.loop(main)

    def test_a_time_is_a_time(self) -> None:
        async def main() -> None:
            async with msock.aio.Server("msp://127.0.0.1:0") as server:
                for timeout in (float("nan"), -1):
                    with self.assertRaisesRegex(ValueError, "not negative"):
                        await server.receive(timeout)

        self.loop(main)

    def test_servers_that_are_cancelled(self) -> None:
        async def never(message: msock.Message) -> None:
            await asyncio.sleep(1000)

        async def main() -> None:
            async with msock.aio.Server("msp://127.0.0.1:0") as server:
                task = asyncio.ensure_future(server.run(never))
                async with msock.aio.Client("msp://" + server.addresses[0], retries=0) as client:
                    sending = asyncio.ensure_future(client.send("x"))
                    await asyncio.sleep(0.05)
                    task.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await task
                    server.close()
                    with self.assertRaises(msock.Error):
                        await sending

        self.loop(main)
