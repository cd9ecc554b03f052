"""What the tests share: msockd as a process, servers in threads, a directory for each test."""

import contextlib
import json
import logging
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
from typing import Any, Callable, Dict, Iterator, List, Optional

import msock

BUILD = os.environ["MSOCK_BUILD"]
SOURCE = os.environ["MSOCK_SOURCE"]
PATIENCE = 80.0  # seconds for what must come on a busy machine

logging.getLogger("msock").addHandler(logging.NullHandler())
logging.getLogger("msock").propagate = False


def until(condition: Callable[[], Any]) -> None:
    """Waits until something is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not become true")
        time.sleep(0.002)


class TestCase(unittest.TestCase):
    """With a directory of its own."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="msock-python.")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def path(self, name: str, content: Optional[bytes] = None) -> str:
        path = os.path.join(self.directory, name)
        if content is not None:
            with open(path, "wb") as file:
                file.write(content)
        return path

    def enter(self, context: "contextlib.AbstractContextManager[Any]") -> Any:
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def daemon(self, *urls: str, workers: int = 1, options: "List[str]" = []) -> "Daemon":
        daemon = Daemon(self.directory, urls, workers, options)
        self.addCleanup(daemon.stop)
        return daemon

    def client(self, url: str, **options: Any) -> msock.Client:
        return self.enter(msock.Client(url, **options))

    def served(self, url: str, handle: Callable[[msock.Message], Any], **options: Any) -> str:
        """A server in a thread; returns the address of its listener."""
        server = msock.Server(url, **options)
        self.addCleanup(server.close)
        thread = threading.Thread(target=server.run, args=(handle,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.stop)
        return server.addresses[0]


class Daemon:
    """A running msockd. addresses has those of its listeners in their order."""

    def __init__(self, directory: str, urls: Any, workers: int, options: "List[str]") -> None:
        self.data = os.path.join(directory, "data")
        self.runtime = os.path.join(directory, "run")
        command = [os.path.join(BUILD, "msockd"), "-w", str(workers), "-d", self.data]
        command += ["-r", self.runtime]
        for url in urls:
            command += ["-l", url]
        for option in options:
            command += ["-o", option]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=directory)
        self.log: List[str] = []
        self._log_thread = threading.Thread(target=self._read)
        self._log_thread.start()
        until(lambda: any("ready:" in line for line in self.log) or self.process.poll() is not None)
        listeners = json.loads(self.control("listeners", "--json"))
        self.addresses = [listener["address"] for listener in listeners]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.decode().rstrip())

    def control(self, *words: str) -> str:
        command = [os.path.join(BUILD, "msockctl"), "-r", self.runtime, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        self._log_thread.join()
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def interrupted(elsewhere: bool = False, begun: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """A SIGINT comes to this process in the meantime, when begun() has returned. Where the process is slow it comes
    before what it is to interrupt: who expects it stands outside. elsewhere: to another thread, so that it ends no
    wait of the system, as one that comes just before a wait."""

    def send() -> None:
        begun()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.pthread_sigmask(signal.SIG_BLOCK if elsewhere else signal.SIG_UNBLOCK, {signal.SIGINT})
    timer = threading.Timer(0.1, send)
    try:
        timer.start()
        yield
    finally:
        timer.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
