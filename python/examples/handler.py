#!/usr/bin/python3
"""A handler of msockd in Python: counts the words of each message, and refuses what is no text.

msockd -l 'auto://127.0.0.1:8000?handler=exec&command=exec%20python3%20handler.py'
"""

import msock

for message in msock.handler:
    try:
        words = message.text.split()
    except UnicodeDecodeError:
        message.refuse("this is no text")
        continue
    message.commit(f"{len(words)} words")
