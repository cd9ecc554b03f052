#!/usr/bin/python3
"""Sends a JSON document and then the files that are named, and tells what became of each.

python3 send.py msp://127.0.0.1:8000 report.pdf picture.png
"""

import sys
from typing import List

import msock


def main(words: List[str]) -> int:
    url = words[0] if words else None
    failed = 0
    with msock.Client(url) as client:
        try:
            sent = client.send_json({"event": "upload", "files": len(words[1:])}, reply=True)
            print(f"event: committed, reply: {(sent.reply or b'').decode()}")
        except msock.Error as error:
            print(f"event: {error}", file=sys.stderr)
            return 1
        for path in words[1:]:
            try:
                client.send_file(path)
                print(f"{path}: committed")
            except msock.Error as error:
                print(f"{path}: {error}", file=sys.stderr)
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
