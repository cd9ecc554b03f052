#!/usr/bin/python3
"""An echo as programs for tinyproto have it: QUIT ends a connection, SRVQUIT the server.

python3 tinyproto_echo.py serve 9123
python3 tinyproto_echo.py 9123 hello QUIT
"""

import sys

from tinyproto import TinyProtoClient, TinyProtoConnection, TinyProtoError, TinyProtoServer

server = TinyProtoServer()


class Echo(TinyProtoConnection):
    def transmission_received(self, msg: bytes) -> None:
        self.transmit(b"bye" if msg in (b"QUIT", b"SRVQUIT") else msg)
        if msg == b"QUIT":
            self.shutdown = True
        if msg == b"SRVQUIT":
            server.shutdown = True


def serve(port: int) -> None:
    server.add_addr("127.0.0.1", port)
    server.set_conn_handler(Echo)
    server.start()


def talk(port: int, *words: str) -> None:
    client = TinyProtoClient()
    connection = client.active_connections[client.connect_to("127.0.0.1", port)]
    for word in words:
        connection.transmit(word.encode())
        print(connection.receive().decode())


try:
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        talk(int(sys.argv[1]), *sys.argv[2:])
except TinyProtoError as error:
    sys.exit(str(error))
