"""msock sends messages, JSON documents and files to msockd, and receives them, through libmsock.

    with msock.Client("msp://127.0.0.1:8000") as client:
        client.send_json({"hello": "world"})      # returns when it is committed

    with msock.Server("auto://127.0.0.1:8000") as server:
        for message in server:
            print(message.data)
            message.commit()

`msock.aio` has both for asyncio, `msock.journal` reads what msockd has kept, and `msock.handler` is
the other end of `handler=exec` in msockd. What fails raises a `msock.Error`.
"""

from . import errors
from ._handler import Handler, HandlerMessage
from ._msock import Client, Connection, Message, Outcome, Sent, __version__, decode, encode, url_error
from ._server import LATER, Server
from .errors import (
    Cancelled,
    Error,
    GivenUp,
    LocalError,
    Refused,
    Timeout,
    Unreachable,
    UsageError,
)

handler = Handler()
"""The messages that msockd gives to this program: `for message in msock.handler: ...`"""

__all__ = [
    "LATER",
    "Cancelled",
    "Client",
    "Connection",
    "Error",
    "GivenUp",
    "Handler",
    "HandlerMessage",
    "LocalError",
    "Message",
    "Outcome",
    "Refused",
    "Sent",
    "Server",
    "Timeout",
    "Unreachable",
    "UsageError",
    "__version__",
    "decode",
    "encode",
    "errors",
    "handler",
    "url_error",
]
