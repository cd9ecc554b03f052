"""A steady load of new and of kept connections, while the server is told to reload by a signal.

usage: reload.py PROTOCOL PORT SECONDS [PID SIGNAL RELOADS]

PROTOCOL is msp or http. RELOADS signals go to PID, spread over the time. Prints on one line, for
bench/run.sh: failed_connects, failed_requests (of both kinds of connections: closed or wrong where an
answer was due), closed (kept connections that the server has closed), requests, and the latency of
requests from the moment when they were due, connecting included: p99_us and worst_us."""

import collections
import hashlib
import heapq
import os
import select
import socket
import struct
import sys
import time
import zlib

KEPT = 50  # connections that stay
KEPT_RATE = 1000  # requests a second over all of these
NEW_RATE = 300  # connections a second that send one request
LATE_S = 5  # without an answer for so long, a request has failed

HTTP = b"GET /idle HTTP/1.1\r\nHost: bench\r\n\r\n"


def msp_message(body=b"x" * 256):
    head = struct.pack(">Q2s32s2sI2s", len(body), b"\r\n", hashlib.sha256(body).digest(), b"\r\n",
                       zlib.crc32(body), b"\r\n")
    rest = b"A\0" + struct.pack(">H", 0)
    return head + body + struct.pack(">I", zlib.crc32(rest)) + b"\r\n" + rest


def msp_answered(data):
    """None: not yet, else whether the message was committed."""
    lines = data.split(b"\r\n")
    if not all(line.startswith(b"ACK"[:len(line)]) for line in lines):
        return False
    return True if len(lines) > 2 else None


def http_answered(data):
    if b"\r\n\r\n" not in data:
        return None
    return data.startswith(b"HTTP/1.1 204 ")


class Connection:
    def __init__(self, load, kept):
        self.load = load
        self.kept = kept
        self.socket = None
        self.due = None  # of the request under way
        self.answer = b""

    def send(self, due):
        """Begins the request of that moment, on the connection that is there or on a new one."""
        self.due = due
        self.answer = b""
        if self.socket is None and not self.connect():
            return
        try:
            self.socket.send(self.load.request)
        except OSError:
            self.lost()

    def connect(self):
        self.socket = socket.socket()
        try:
            self.socket.connect(("127.0.0.1", self.load.port))
        except OSError:
            self.load.count["failed_connects"] += 1
            self.socket.close()
            self.socket = self.due = None
            return False
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.load.by_fd[self.socket.fileno()] = self
        self.load.epoll.register(self.socket, select.EPOLLIN)
        return True

    def close(self):
        del self.load.by_fd[self.socket.fileno()]
        self.load.epoll.unregister(self.socket)
        self.socket.close()
        self.socket = None

    def lost(self):
        self.load.count["closed"] += self.kept
        if self.due is not None:
            self.load.count["failed_requests"] += 1
            self.due = None
        self.close()

    def readable(self):
        try:
            data = self.socket.recv(4096)
        except OSError:
            data = b""
        if not data:
            self.lost()
            return
        self.answer += data
        answered = self.load.answered(self.answer) if self.due is not None else False
        if answered is False:
            self.lost()
        elif answered:
            self.load.latencies.append(time.monotonic() - self.due)
            self.due = None
            if not self.kept:
                self.close()


class Load:
    def __init__(self, protocol, port):
        self.port = port
        self.request = msp_message() if protocol == "msp" else HTTP
        self.answered = msp_answered if protocol == "msp" else http_answered
        self.count = collections.Counter()
        self.latencies = []
        self.epoll = select.epoll()
        self.by_fd = {}
        self.kept = collections.deque(Connection(self, True) for _ in range(KEPT))

    def send_kept(self, due):
        connection = self.kept[0]
        self.kept.rotate(-1)
        if connection.due is None:
            connection.send(due)
        elif time.monotonic() - connection.due > LATE_S:
            connection.lost()

    def send_new(self, due):
        Connection(self, False).send(due)

    def wait(self, seconds):
        for fd, _ in self.epoll.poll(max(0, seconds)):
            if fd in self.by_fd:
                self.by_fd[fd].readable()

    def run(self, seconds, reload, reloads):
        begun = time.monotonic()
        tasks = [(begun, 1 / KEPT_RATE, self.send_kept), (begun, 1 / NEW_RATE, self.send_new)]
        if reloads:
            tasks.append((begun + seconds / reloads / 2, seconds / reloads, reload))
        heapq.heapify(tasks)
        while tasks[0][0] < begun + seconds:
            due, pause, act = tasks[0]
            self.wait(due - time.monotonic())
            if time.monotonic() >= due:
                act(due)
                heapq.heapreplace(tasks, (due + pause, pause, act))
        until = time.monotonic() + LATE_S
        while any(c.due is not None for c in self.by_fd.values()) and time.monotonic() < until:
            self.wait(0.1)
        self.count["failed_requests"] += sum(c.due is not None for c in self.by_fd.values())

    def report(self):
        ordered = sorted(self.latencies)
        figures = {name: self.count[name] for name in ("failed_connects", "failed_requests", "closed")}
        figures["requests"] = len(ordered)
        figures["p99_us"] = round(ordered[len(ordered) * 99 // 100] * 1e6)
        figures["worst_us"] = round(ordered[-1] * 1e6)
        print(*(f"{name}={value}" for name, value in figures.items()))


def main(protocol, port, seconds, pid=0, signal=0, reloads=0):
    load = Load(protocol, int(port))
    load.run(float(seconds), lambda _: os.kill(int(pid), int(signal)), int(reloads))
    load.report()


main(*sys.argv[1:])
