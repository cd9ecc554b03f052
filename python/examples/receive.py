#!/usr/bin/python3
"""Receives messages in a program of one's own and prints them. SIGINT and SIGTERM end it.

python3 receive.py auto://127.0.0.1:8000
msock send 'hello there'
"""

import signal
import sys

import msock

with msock.Server(sys.argv[1] if len(sys.argv) > 1 else "auto://127.0.0.1:8000") as server:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    print("listening on", server.addresses[0], file=sys.stderr, flush=True)
    for message in server:
        about = f"{message.kind} from {message.peer} over {message.protocol}, id {message.id!r}"
        print(f"{about}, {len(message.data)} bytes: {message.data!r}", flush=True)
        message.commit()
