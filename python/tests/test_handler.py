"""msock.handler behind msockd: exec=pool, with programs that behave and that do not."""

import os
import subprocess
import sys
import urllib.parse
from typing import Any

import msock
from support import SOURCE, PATIENCE, TestCase, until


class Handling(TestCase):
    def behind(self, program: str, **options: Any) -> msock.Client:
        command = f"exec {sys.executable} {program}"
        options_of_url = "handler=exec&exec_children=1&exec_env=PYTHONPATH"
        url = f"msp://127.0.0.1:0?{options_of_url}&command={urllib.parse.quote(command)}"
        self.msockd = self.daemon(url, options=["log_level=info"])
        return self.client("msp://" + self.msockd.addresses[0], retries=0, **options)

    def program(self, text: str) -> str:
        return self.path("program.py", b"import msock\n" + text.encode())

    def test_the_example(self) -> None:
        client = self.behind(os.path.join(SOURCE, "python", "examples", "handler.py"))
        self.assertEqual(client.send("three words here", reply=True).reply, b"3 words")
        with self.assertRaisesRegex(msock.Refused, "this is no text"):
            client.send(b"\xff")
        self.assertEqual(client.send("", reply=True).reply, b"0 words")
        large = b"x " * 1_000_000
        self.assertEqual(client.send(large, reply=True).reply, b"1000000 words")

    def test_a_message_that_nobody_settles_is_committed(self) -> None:
        text = "print('at first')\nfor message in msock.handler:\n    print(message.text)"
        client = self.behind(self.program(text))
        self.assertEqual(client.send("printed", reply=True).reply, b"")
        for printed in ("at first", "printed"):
            until(lambda: any(printed in line for line in self.msockd.log))

    def test_a_function(self) -> None:
        client = self.behind(
            self.program(
                "def answer(message):\n"
                "    if message.text == 'fails': raise LookupError('what?')\n"
                "    if message.text == 'own': message.reply('own')\n"
                "    if message.text == 'number': return 5\n"
                "    return message.json() if message.data[:1] == b'\"' else None\n"
                "msock.handler.run(answer)"
            )
        )
        self.assertEqual(client.send_json("echo", reply=True).reply, b"echo")
        self.assertEqual(client.send("own", reply=True).reply, b"own")
        for text in ("fails", "number"):
            with self.assertRaisesRegex(msock.Refused, "the program has failed"):
                client.send(text)
        self.assertEqual(client.send("", reply=True).reply, b"")
        until(lambda: any("LookupError: what?" in line for line in self.msockd.log))

    def test_an_exception_ends_the_program_and_fails_its_message(self) -> None:
        client = self.behind(self.program("for message in msock.handler:\n    1 / int(message.text)"))
        with self.assertRaises(msock.GivenUp) as caught:
            client.send("0")
        self.assertEqual(caught.exception.code, "internal")
        client.send("1")

    def run_with(self, text: str, given: bytes) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run([sys.executable, self.program(text)], input=given, capture_output=True)

    def test_bad_use(self) -> None:
        text = (
            "message = next(iter(msock.handler))\n"
            "for call in (lambda: message.commit(5), lambda: message.commit(bytes((16 << 20) + 1)),\n"
            "             message.commit, message.commit, lambda: message.refuse('x')):\n"
            "    try: call()\n"
            "    except (TypeError, msock.UsageError) as error: print(type(error).__name__, error)\n"
        )
        result = self.run_with(text, b"\0\0\0\2hi")
        self.assertEqual(result.stdout, b"\0\0\0\0")
        lines = result.stderr.decode().splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["TypeError"] + ["UsageError"] * 3)
        result = self.run_with("for message in msock.handler: pass", b"\0\0\0\5hi")
        self.assertIn(b"EOFError", result.stderr)
        result = self.run_with("for message in msock.handler: message.refuse('no')", b"\0\0\0\1x")
        self.assertEqual(result.stdout, b"\x80\0\0\2no")
        self.assertEqual(self.run_with("for message in msock.handler: pass", b"").stdout, b"")
