"""msock.Server: the receiving half of libmsock, one message at a time or with callbacks."""

import collections
import logging
import math
import time
from types import TracebackType
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple, Type, Union

from . import _msock
from ._msock import Connection, Message
from .errors import Timeout, UsageError

logger = logging.getLogger("msock")

LOG_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)

Transform = Callable[[bytes], Union[bytes, str]]
Event = Union[Message, Tuple[Connection, bool]]


class Later:
    """What a callback returns that settles its message later."""

    def __repr__(self) -> str:
        return "msock.LATER"


LATER = Later()

Answer = Union[None, bytes, str, Later]


def log_line(level: int, text: Optional[str]) -> None:
    """A line of libmsock's log."""
    logger.log(LOG_LEVELS[level], "%s", text)


def milliseconds(seconds: float) -> int:
    if not 0 < seconds < 4_000_000:
        raise ValueError("a time is above 0 and below 4,000,000 seconds")
    return math.ceil(seconds * 1000)


def settle(message: Message, answer: Answer) -> None:
    """What a callback has returned for a message becomes of it."""
    if not message.settled and not isinstance(answer, Later):
        message.commit(answer)


def refuse_failed(message: Message, what: str) -> None:
    """Within an except: the program's code has failed for this message."""
    logger.exception("%s has failed: the message is refused", what)
    if not message.settled:
        message.refuse("the receiving program has failed")


class ServerBase(_msock.Server):
    """What Server and aio.Server have in common: how they are made."""

    def __init__(
        self,
        *urls: str,
        connections: int = 1024,
        timeout: float = 2.0,
        idle_timeout: float = 60.0,
        encode: Optional[Transform] = None,
        decode: Optional[Transform] = None,
        log: Callable[[int, Optional[str]], Any] = log_line,
    ) -> None:
        self._messages: Deque[Message] = collections.deque()
        self.configure(log, connections, milliseconds(timeout), milliseconds(idle_timeout))
        if encode is not None or decode is not None:
            self.add_transform(encode, decode)
        try:
            for url in urls:
                self.add_listener(url)
        except BaseException:
            self.close()
            raise

    def _take(self, events: List[Event]) -> None:
        self._messages.extend(event for event in events if isinstance(event, Message))

    def __repr__(self) -> str:
        what = "closed" if self.closed else ", ".join(self.addresses) or "without a listener"
        return f"<msock.{type(self).__name__} {what}>"


class Server(ServerBase):
    """A server in this program: it speaks all protocols, checks every byte as msockd does, and hands
    over whole messages. Their senders are answered when the program settles them, not before.

    urls           listeners: 'auto://127.0.0.1:8000', 'msp:///run/my.sock', 'frame://[::1]:0', with
                   the options of listeners in msockd.conf(5)
    connections    the most at a time, 1 to 32768
    timeout        the longest silence within a message, in seconds
    idle_timeout   the longest silence between messages
    encode, decode functions bytes -> bytes for what is sent and what is received
    log            a function of a level (0 error, 1 warning, 2 notice, 3 info, 4 debug) and a text;
                   without one, logging.getLogger("msock")

    One thread receives: it iterates, or calls receive() or run(). Any thread may settle messages and
    write to connections. Call close(), or use `with`.
    """

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def receive(self, timeout: Optional[float] = None) -> Optional[Message]:
        """Wait for the next message. None after stop(), when all are handed over.

        Raises Timeout if none came within timeout seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._messages:
            events = self.events(timeout)
            if events is None:
                return None
            self._take(events)
            if until is not None and not self._messages:
                timeout = until - time.monotonic()
                if timeout <= 0:
                    raise Timeout("nothing came in time")
        return self._messages.popleft()

    def __iter__(self) -> Iterator[Message]:
        """The messages, until stop()."""
        while True:
            message = self.receive()
            if message is None:
                return
            yield message

    def run(
        self,
        on_message: Callable[[Message], Answer],
        on_open: Optional[Callable[[Connection], Any]] = None,
        on_close: Optional[Callable[[Connection], Any]] = None,
        on_tick: Optional[Callable[[], Any]] = None,
        tick: float = 1.0,
        drain: float = 0.0,
    ) -> None:
        """Receive with callbacks until stop().

        on_message gets each message. What it returns, bytes, str or None, is the reply with which
        the message is committed, unless it has settled the message itself or returns LATER. If it
        raises, the message is refused and the traceback is logged. on_open and on_close get
        connections; on_tick is called every tick seconds. After stop() messages under way have
        drain seconds to arrive and to be settled.
        """
        if not callable(on_message):
            raise UsageError("there is no function for messages")
        callbacks: Dict[bool, Optional[Callable[[Connection], Any]]] = {True: on_open, False: on_close}

        def told(event: Event) -> None:
            if isinstance(event, Message):
                run_message(on_message, event)
            else:
                callback = callbacks[event[1]]
                if callback is not None:
                    run_logged(callback, event[0])

        while self._messages:
            told(self._messages.popleft())
        next_tick = time.monotonic() + tick
        left: Optional[float] = tick if on_tick is not None else None
        while (events := self.events(left)) is not None:
            for event in events:
                told(event)
            if on_tick is not None:
                left = next_tick - time.monotonic()
                if left <= 0:
                    run_logged(on_tick)
                    left = tick
                    next_tick = time.monotonic() + tick
        until = time.monotonic() + drain
        while events := self.drain(max(0.0, until - time.monotonic())):
            for event in events:
                told(event)


def run_logged(callback: Callable[..., Any], *arguments: Any) -> None:
    try:
        callback(*arguments)
    except Exception:
        logger.exception("a callback has failed")


def run_message(on_message: Callable[[Message], Answer], message: Message) -> None:
    try:
        settle(message, on_message(message))
    except Exception:
        refuse_failed(message, "the callback for messages")
