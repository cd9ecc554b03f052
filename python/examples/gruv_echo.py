#!/usr/bin/python3
"""An echo with a look at each status, as programs for gruv_socks have it.

python3 gruv_echo.py serve 5551
python3 gruv_echo.py 5551 hello
"""

import sys

from gruv_socks.gruv_socks import ServerBase, Socket, echo_callback


def talk(port: int, *words: str) -> None:
    sock = Socket(timeout=5)
    if not sock.connect("127.0.0.1", port):
        sys.exit("there is nobody")
    for word in words:
        good = sock.write(word)
        good, data = sock.read() if good else (False, b"")
        print(data.decode() if good else f"no answer: {data!r}")
    sock.disconnect()


if sys.argv[1] == "serve":
    ServerBase().start(echo_callback, int(sys.argv[2]), "127.0.0.1", blocking=True)
else:
    talk(int(sys.argv[1]), *sys.argv[2:])
