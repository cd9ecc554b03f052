"""The interface of tinyproto on libmsock: messages in both directions, as to msockd's tinyproto://."""

from ._connection import (
    MSG_MAX_SIZE,
    SC_CONFLICT,
    SC_CONLIMIT,
    SC_GENERIC_ERROR,
    SC_OK,
    TinyProtoConnection,
    TinyProtoConnectionDetails,
    TinyProtoError,
    TinyProtoPlugin,
)
from ._endpoints import TinyProtoClient, TinyProtoServer

__all__ = [
    "MSG_MAX_SIZE",
    "SC_CONFLICT",
    "SC_CONLIMIT",
    "SC_GENERIC_ERROR",
    "SC_OK",
    "TinyProtoClient",
    "TinyProtoConnection",
    "TinyProtoConnectionDetails",
    "TinyProtoError",
    "TinyProtoPlugin",
    "TinyProtoServer",
]
