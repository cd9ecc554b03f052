#!/usr/bin/python3
"""Sends a text, a document and a file, as programs for minimalsockets do.

python3 minimalsockets_send.py 8000 report.json
"""

import sys

from minimalsockets import Socket

socket = Socket()
socket.connect(("127.0.0.1", int(sys.argv[1])))
socket.send("a text")
socket.send_json({"hello": "world"})
socket.send_file(sys.argv[2])
socket.dispose()
print("sent, and safe")
