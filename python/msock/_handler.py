"""The other end of `handler=exec&exec=pool` in msockd: messages on standard input, answers on standard
output, each behind its length. msockd.conf(5) has the protocol, in HANDLERS."""

import io
import json
import os
import struct
import sys
from typing import Any, BinaryIO, Callable, Iterator, Optional, Tuple, Union

from ._server import logger
from .errors import UsageError

LENGTH = struct.Struct(">I")
REFUSED = 0x80000000
REPLY_MAX = 16 << 20
REASON_MAX = 64 << 10


class HandlerMessage:
    """A message that msockd gives to a program. It is settled once."""

    data: bytes
    settled: bool

    def __init__(self, handler: "Handler", data: bytes) -> None:
        self._handler = handler
        self.data = data
        self.settled = False

    def __repr__(self) -> str:
        return f"<msock.HandlerMessage of {len(self.data)} bytes{', settled' * self.settled}>"

    @property
    def text(self) -> str:
        """Its bytes as UTF-8."""
        return self.data.decode()

    def json(self) -> Any:
        """The value of a JSON document. ValueError if it is none."""
        return json.loads(self.data)

    def commit(self, reply: Union[None, bytes, str] = None) -> None:
        """Commit the message; reply goes to a sender that wants one."""
        answer = encoded(reply)
        if len(answer) > REPLY_MAX:
            raise UsageError("a reply has at most 16 MiB")
        self._settle(LENGTH.pack(len(answer)) + answer)

    reply = commit

    def refuse(self, text: Optional[str] = None) -> None:
        """Refuse the message: its sender is told why."""
        reason = encoded(text)[:REASON_MAX]
        self._settle(LENGTH.pack(REFUSED | len(reason)) + reason)

    def _settle(self, answer: bytes) -> None:
        if self.settled:
            raise UsageError("this message is settled")
        self.settled = True
        self._handler._answer(answer)


class Handler:
    """The messages that msockd gives to this program.

        for message in msock.handler:
            message.commit(message.data.upper())

    A message that is not settled when the next one is asked for is committed without a reply. When an
    exception ends the program, its message fails, and the sender may send it again. The loop ends
    when msockd has no more messages for this process.

    What the program prints goes to standard error, and so to msockd's log (level info): standard output belongs to
    the answers. Before the loop this holds for what print() keeps in its buffer.
    """

    def __init__(self) -> None:
        self._pipes: Optional[Tuple[BinaryIO, int]] = None

    def _open(self) -> Tuple[BinaryIO, int]:
        if self._pipes is None:
            messages = io.open(os.dup(0), "rb")
            answers = os.dup(1)
            os.dup2(2, 1)
            sys.stdout.flush()  # what was printed before, too
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(line_buffering=True)  # a log is read while it is written
            with open(os.devnull, "rb") as null:
                os.dup2(null.fileno(), 0)
            self._pipes = messages, answers
        return self._pipes

    def _answer(self, answer: bytes) -> None:
        view = memoryview(answer)
        while view:
            view = view[os.write(self._open()[1], view) :]

    def __iter__(self) -> Iterator[HandlerMessage]:
        messages, _ = self._open()
        while (data := read_message(messages)) is not None:
            message = HandlerMessage(self, data)
            yield message
            if not message.settled:
                message.commit()

    def run(self, on_message: Callable[[HandlerMessage], Union[None, bytes, str]]) -> None:
        """Call a function with each message; what it returns is the reply.

        If it raises, the message is refused and the traceback is logged.
        """
        for message in self:
            try:
                reply = on_message(message)
                if not message.settled:
                    message.commit(reply)
            except Exception:
                logger.exception("the function for messages has failed: the message is refused")
                if not message.settled:
                    message.refuse("the program has failed")


def encoded(value: Union[None, bytes, str]) -> bytes:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))


def read_message(messages: BinaryIO) -> Optional[bytes]:
    """None at the end."""
    head = messages.read(LENGTH.size)
    if not head:
        return None
    if len(head) == LENGTH.size:
        length = LENGTH.unpack(head)[0]
        data = messages.read(length)
        if len(data) == length:
            return data
    raise EOFError("the messages end in the middle of one: is this program run by exec=pool?")
