"""msock for asyncio: a Client and a Server on descriptors in the event loop, without threads.

    async with msock.aio.Client("msp://127.0.0.1:8000") as client:
        await client.send("hello")

    async with msock.aio.Server("auto://127.0.0.1:8000") as server:
        async for message in server:
            message.commit()
"""

import asyncio
import select
from types import TracebackType
from typing import (
    Any,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Dict,
    Iterable,
    List,
    Optional,
    Set,
    Type,
    TypeVar,
    Union,
)

from . import _msock
from ._msock import Connection, Message, Operation, Outcome, Sent
from ._server import Answer, Event, ServerBase, refuse_failed, run_logged, settle
from .errors import Timeout, UsageError

T = TypeVar("T")
Waits = Any  # what Operation.step returns


def wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def watch(add: Callable[..., Any], fd: int, future: "asyncio.Future[None]") -> bool:
    """False for a file that no event loop can watch, since it is always ready."""
    try:
        add(fd, wake, future)
    except PermissionError:
        future.get_loop().call_soon(wake, future)
        return False
    return True


async def wait_for_event(waits: Waits) -> None:
    """Waits in the event loop for what a call would have waited for."""
    loop = asyncio.get_running_loop()
    future: "asyncio.Future[None]" = loop.create_future()
    descriptors, seconds = waits
    timer = loop.call_later(seconds, wake, future) if seconds is not None else None
    readers: List[int] = []
    writers: List[int] = []
    try:
        for fd, events in descriptors:
            if events & select.POLLIN and watch(loop.add_reader, fd, future):
                readers.append(fd)
            if events & select.POLLOUT and watch(loop.add_writer, fd, future):
                writers.append(fd)
        await future
    finally:
        for fd in readers:
            loop.remove_reader(fd)
        for fd in writers:
            loop.remove_writer(fd)
        if timer is not None:
            timer.cancel()


async def complete(operation: "Operation[T]") -> T:
    """Takes a call to its end, step by step. When its task is cancelled, the call ends too."""
    try:
        while (waits := operation.step()) is not None:
            await wait_for_event(waits)
    except BaseException:
        operation.step(True)
        try:
            operation.result()
        except Exception:
            pass
        raise
    return operation.result()


async def each(items: Union[Iterable[Any], AsyncIterable[Any]]) -> AsyncIterator[Any]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


class Client:
    """msock.Client for asyncio, with the same arguments, methods and exceptions.

    Several tasks may use it: their calls take turns. A call whose task is cancelled is ended; its
    message is then not committed, or in doubt.
    """

    def __init__(self, url: Optional[str] = None, **options: Any) -> None:
        self._sock = options.pop("sock", None)
        self._client = _msock.LoopClient(url, **options)
        self._lock: Optional[asyncio.Lock] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    def __repr__(self) -> str:
        return repr(self._client)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """The URL that it was made with."""
        return self._client.url

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._client.closed

    @property
    def connected_to(self) -> str:
        """The server of the last connection; '' before the first one."""
        return self._client.connected_to

    @property
    def acknowledges(self) -> bool:
        """True if the protocol tells that a message was taken (msp, cnp)."""
        return self._client.acknowledges

    def counts(self) -> Dict[str, int]:
        """The counts of this client since it was made."""
        return self._client.counts()

    def add_transform(self, encode: Any, decode: Any = None) -> None:
        """As msock.Client.add_transform."""
        self._client.add_transform(encode, decode)

    @property
    def _turn(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._lock is None or self._loop is not loop:  # Python binds a lock to its loop
            self._lock, self._loop = asyncio.Lock(), loop
        return self._lock

    async def _attach(self) -> None:
        if self._sock is not None:
            sock, self._sock = self._sock, None
            await complete(self._client._attach(sock))

    async def _call(self, begin: Callable[..., "Operation[T]"], *args: Any, **options: Any) -> T:
        async with self._turn:
            await self._attach()
            return await complete(begin(*args, **options))

    async def connect(self) -> None:
        """Connect now and not with the first message."""
        await self._call(self._client.connect)

    async def send(self, data: Any, *, id: Any = None, reply: bool = False) -> Sent:
        """Send a message and wait until it is committed."""
        return await self._call(self._client.send, data, id=id, reply=reply)

    async def send_json(self, value: Any, *, id: Any = None, reply: bool = False) -> Sent:
        """Send a value as a JSON document."""
        return await self._call(self._client.send_json, value, id=id, reply=reply)

    async def send_file(self, file: Any, name: Any = None, *, reply: bool = False) -> Sent:
        """Send a file, which the server stores under name. Its disk is read in the loop."""
        return await self._call(self._client.send_file, file, name, reply=reply)

    async def receive(self, timeout: Optional[float] = None, **default: T) -> Union[bytes, T]:
        """Wait for the next message that the server sends by itself; not over msp."""
        return await self._call(self._client.receive, timeout, **default)

    async def send_many(
        self, items: Union[Iterable[Any], AsyncIterable[Any]], *, json: bool = False
    ) -> AsyncIterator[Outcome]:
        """Send many messages behind each other; an asynchronous iterator over their Outcomes.

        The client is its own until the end. Each message of an asynchronous iterable leaves before the
        next one is asked for; those of another one leave in groups.
        """
        client = self._client
        may_pause = isinstance(items, AsyncIterable)
        number = 0
        async with self._turn:
            await self._attach()
            await complete(client._flush(None))
            while client._outcome(0) is not None:
                pass
            async for item in each(items):
                await complete(client._ahead(item, json))
                if may_pause:
                    await complete(client._flush(0))
                while (outcome := client._outcome(number)) is not None:
                    number += 1
                    yield outcome
            await complete(client._flush(None))
            while (outcome := client._outcome(number)) is not None:
                number += 1
                yield outcome

    async def close(self, timeout: Optional[float] = None) -> None:
        """Close the connection, as msock.Client.close."""
        async with self._turn:
            if self._sock is not None:
                self._sock.close()
            if not self._client.closed:
                await complete(self._client.close(timeout))


class Server(ServerBase):
    """msock.Server for asyncio, with the same arguments. It is iterated, or run() calls back.

    Messages are settled as those of msock.Server, without await.
    """

    _is_receiving = False
    _writers: "List[asyncio.Future[None]]"

    def __init__(self, *urls: str, **options: Any) -> None:
        self._writers = []
        super().__init__(*urls, **options)

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    async def _events(self, until: Optional[float] = None) -> Optional[List[Event]]:
        """What has happened; empty if nothing did by that time of the loop. None after stop()."""
        loop = asyncio.get_running_loop()
        if self._is_receiving:
            raise UsageError("another task receives from this server")
        self._is_receiving = True
        try:
            while (events := self._look()) is not None and not events:
                fd, wake_fd, seconds = self.waits()
                if until is not None:
                    seconds = min(seconds, until - loop.time())
                    if seconds <= 0:
                        break
                await wait_for_event(([(fd, select.POLLIN), (wake_fd, select.POLLIN)], seconds))
            return events
        finally:
            self._is_receiving = False

    def _look(self) -> Optional[List[Event]]:
        """A turn of the server, after which there may be room to write."""
        events = self.events(0)
        self._wake_writers()
        return events

    def _wake_writers(self) -> None:
        while self._writers:
            wake(self._writers.pop())

    async def receive(self, timeout: Optional[float] = None) -> Optional[Message]:
        """Wait for the next message. None after stop(), when all are handed over.

        Raises Timeout if none came within timeout seconds.
        """
        if timeout is not None and not timeout >= 0:
            raise ValueError("a time is not negative")
        loop = asyncio.get_running_loop()
        until = None if timeout is None else loop.time() + timeout
        while not self._messages:
            events = await self._events(until)
            if events is None:
                return None
            self._take(events)
            if until is not None and not self._messages and loop.time() >= until:
                raise Timeout("nothing came in time")
        return self._messages.popleft()

    async def __aiter__(self) -> AsyncIterator[Message]:
        """The messages, until stop()."""
        while (message := await self.receive()) is not None:
            yield message

    async def run(
        self,
        on_message: Callable[[Message], Awaitable[Answer]],
        on_open: Optional[Callable[[Connection], Any]] = None,
        on_close: Optional[Callable[[Connection], Any]] = None,
    ) -> None:
        """Receive with callbacks until stop(), and wait for those that are under way.

        on_message is a coroutine function; each message has a task of its own. What it returns, bytes,
        str or None, is the reply with which the message is committed, unless it has settled the
        message itself or returns LATER. If it raises, the message is refused and the traceback is
        logged. on_open and on_close are called with connections.
        """
        tasks: "Set[asyncio.Task[None]]" = set()

        async def handle(message: Message) -> None:
            try:
                settle(message, await on_message(message))
            except Exception:
                refuse_failed(message, "the coroutine for messages")

        def told(event: Event) -> None:
            if isinstance(event, Message):
                task = asyncio.ensure_future(handle(event))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                callback = on_open if event[1] else on_close
                if callback is not None:
                    run_logged(callback, event[0])

        try:
            while self._messages:
                told(self._messages.popleft())
            while (events := await self._events()) is not None:
                for event in events:
                    told(event)
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def close(self) -> None:
        """Close all connections, as msock.Server.close."""
        super().close()
        self._wake_writers()

    async def write(self, connection: Connection, data: Union[bytes, str]) -> None:
        """Send a message to a peer, as Connection.write; another task must receive meanwhile.

        Waits in the loop until the peer has read enough of what was written before.
        """
        while True:
            try:
                return connection.write(data, 0)
            except Timeout:
                room: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
                self._writers.append(room)
                await room


__all__ = ["Client", "Server"]
