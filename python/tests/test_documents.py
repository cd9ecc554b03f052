"""The manual and pydoc know the same names, everything public has a docstring, the examples do what
they say, and what the guide tells people to type works as it stands, with other ports."""

import inspect
import os
import re
import signal
import subprocess
import sys
from typing import Any, Dict, List

import msock
import msock.aio
import msock.journal
from support import BUILD, PATIENCE, SOURCE, TestCase, until
from test_dropins import free_port

ENVIRONMENT = dict(
    os.environ,
    PATH=BUILD + ":" + os.environ["PATH"],
    PYTHONPATH=f"{BUILD}/python:{BUILD}/python/dropins",
)


def read(*path: str) -> str:
    with open(os.path.join(SOURCE, *path), encoding="utf-8") as file:
        return file.read()


class Names(TestCase):
    def test_the_manual_and_the_module_agree(self) -> None:
        manual = read("docs", "man", "msock.3")
        synopsis = manual[manual.index(".Sh SYNOPSIS") : manual.index(".Sh DESCRIPTION")]
        functions = re.findall(r"^\.Fo (\w+)$", synopsis, re.M)
        rows = dict(re.findall(r"^\.It Fn (\w+) Ta Ic (\S+)$", manual, re.M))
        self.assertGreater(len(functions), 60)
        self.assertEqual(sorted(functions), sorted(rows))
        for name in rows.values():
            found: Any = msock
            for part in name.split("."):
                found = getattr(found, part)
        named = set(rows.values())
        for kind in ("Client", "Connection", "Message", "Sent"):
            for member in self.members(getattr(msock, kind)):
                if f"{kind}.{member}" not in named:
                    self.assertIn(f"{kind}.{member}", ALONE)

    def members(self, kind: Any) -> List[str]:
        return [n for n in vars(kind) if not n.startswith("_") and not n.startswith("n_")]

    def test_everything_has_a_docstring(self) -> None:
        kinds = [getattr(msock, name) for name in msock.__all__]
        kinds += [msock.aio.Client, msock.aio.Server, msock.journal.Record, msock.journal.Reader]
        for kind in kinds:
            if not inspect.isclass(kind):
                continue
            self.assertTrue(kind.__doc__, kind)
            for name in self.members(kind):
                member = inspect.getattr_static(kind, name)
                if callable(member) or isinstance(member, property):
                    self.assertTrue(inspect.getdoc(getattr(kind, name)), f"{kind}.{name}")
        self.assertIn("send_many", subprocess.run(
            [sys.executable, "-m", "pydoc", "msock.Client"],
            env=ENVIRONMENT, capture_output=True, text=True, check=True,
        ).stdout)
        self.assertEqual(str(inspect.signature(msock.Client.send)), "(self, data, /, *, id=None, reply=False)")

    def test_the_version_is_that_of_the_library(self) -> None:
        header = read("include", "msock.h")
        self.assertIn(f'#define MSOCK_VERSION "{msock.__version__}"', header)


# What Python has besides.
ALONE = {
    "Client.url",
    "Client.closed",
    "Connection.closed",
    "Connection.state",
    "Message.text",
    "Message.reply",
    "Message.settled",
    "Sent.count",
    "Sent.index",
}


# Where a command fails, those before it have started something.
LEAVE_NOTHING = """trap '{ set +e; for r in run-*; do msockctl -r $r stop; done; kill $(jobs -p); } >&2' EXIT"""


class Typed(TestCase):
    def test_the_guide(self) -> None:
        guide = read("docs", "guide.md")
        text = guide[guide.index("\n## From Python\n") : guide.index("\n## Does it work here?\n")]
        text = re.sub(r"```.*?```", "", text, flags=re.S)
        ports: Dict[str, str] = {}
        text = re.sub(r"\b801\d\b", lambda match: ports.setdefault(match[0], str(free_port())), text)
        typed = re.findall(r"^    [$>] (.*)$", text, re.M)
        shown = re.findall(r"^    (?![$>] )(\S.*)$", text, re.M)
        for name, target in (("build", BUILD), ("python", SOURCE + "/python"), ("README.md", SOURCE + "/README.md")):
            os.symlink(target, self.path(name))
        result = subprocess.run(
            ["bash", "-e", "-c", "\n".join([LEAVE_NOTHING, *typed])],
            cwd=self.directory, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE,
        )
        said = re.sub(r"process \d+", "process 0", result.stdout)
        wanted = re.sub(r"process \d+", "process 0", "\n".join(shown) + "\n")
        self.assertEqual((said, result.returncode), (wanted, 0), result.stderr)

    def example(self, name: str, *words: str) -> str:
        return subprocess.run(
            [sys.executable, os.path.join(SOURCE, "python", "examples", name), *words],
            env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=True,
        ).stdout

    def test_send_and_receive(self) -> None:
        receive = subprocess.Popen(
            [sys.executable, os.path.join(SOURCE, "python", "examples", "receive.py"), "msp://127.0.0.1:0"],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        assert receive.stderr is not None
        address = receive.stderr.readline().split()[-1]
        path = self.path("a.txt", b"content")
        said = self.example("send.py", "msp://" + address, path)
        self.assertEqual(said, f"event: committed, reply: \n{path}: committed\n")
        receive.send_signal(signal.SIGTERM)
        out, _ = receive.communicate(timeout=PATIENCE)
        self.assertIn("bytes: b'content'", out)
        self.assertIn("id 'a.txt'", out)
        self.assertEqual(receive.returncode, 0)

    def test_asyncio(self) -> None:
        self.assertEqual(self.example("aio_echo.py", "hello there", "again"), "hello there\nagain\n")
