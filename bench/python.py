"""What bench/python.sh measures, in processes of its own; prints "rate=N" in messages a second, and of
echoes "cpu_us=N", the CPU time of both sides for one.

    python.py send URL SIZE SECONDS         one message after the other, msock.Client
    python.py many URL SIZE SECONDS         send_many
    python.py serve WHOSE PROTOCOL PORT     an echo, until a signal: of the drop-in or in plain Python
    python.py echo WHOSE PROTOCOL PORT CLIENTS AS SECONDS --cpu-of PIDS
                                            round trips of 64 bytes; CLIENTS at once, AS threads of one
                                            program or as programs; PIDS are the server's

WHOSE is dropin or plain. PROTOCOL is tinyproto, frame (gruv_socks) or msp (minimalsockets, which has
no replies: a trip is a message and its last ACK). The peers in plain Python are those of the tests.
"""

import multiprocessing
import os
import sys
import threading
import time
from multiprocessing.pool import ThreadPool
from typing import Any, Callable, Iterator, List, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("B", "build")
sys.path[:0] = [
    os.path.join(BUILD, "python"),
    os.path.join(BUILD, "python", "dropins"),
    os.path.join(HERE, "..", "python", "tests"),
]

import minimalsockets  # noqa: E402
import msock  # noqa: E402
import plain  # noqa: E402
import tinyproto  # noqa: E402
from gruv_socks import gruv_socks  # noqa: E402

BODY = b"x" * 64
BATCH = 200  # messages between two looks at the clock


def report(count: int, seconds: float) -> None:
    print(f"rate={count / seconds:.1f}")


def send(url: str, size: int, seconds: float) -> None:
    body = os.urandom(size)
    with msock.Client(url) as client:
        client.send(body)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            for _ in range(10):
                client.send(body)
            count += 10
        report(count, time.perf_counter() - began)


def many(url: str, size: int, seconds: float) -> None:
    body = os.urandom(size)
    end = time.perf_counter() + seconds

    def bodies() -> Iterator[bytes]:
        while time.perf_counter() < end:
            for _ in range(BATCH):
                yield body

    with msock.Client(url) as client:
        client.connect()
        began = time.perf_counter()
        count = sum(outcome.error is None for outcome in client.send_many(bodies()))
        report(count, time.perf_counter() - began)


# --- servers ---


class Echo(tinyproto.TinyProtoConnection):
    def transmission_received(self, msg: bytes) -> None:
        self.transmit(msg)


def serve_dropin(protocol: str, port: int) -> None:
    if protocol == "frame":
        gruv_socks.ServerBase().start(gruv_socks.echo_callback, port, "127.0.0.1", blocking=True)
    elif protocol == "tinyproto":
        server = tinyproto.TinyProtoServer()
        server.add_addr("127.0.0.1", port)
        server.set_conn_handler(Echo)
        server.start()
    else:
        receiver = minimalsockets.ServerSocket(("127.0.0.1", port))
        receiver.connections = 100
        while True:
            receiver.listen()


class Forget(plain.MspStore):
    def take(self, kind: bytes, value: bytes, body: bytes) -> None:
        pass


def serve_plain(protocol: str, port: int) -> None:
    wires = {"frame": plain.Frame, "tinyproto": plain.Tiny, "msp": plain.Msp}
    take = plain.echo if protocol != "msp" else Forget()
    plain.Server(wires[protocol], take, port).thread.join()


# --- clients ---


def trip_of_dropin(protocol: str, port: int) -> Callable[[], Any]:
    if protocol == "frame":
        sock = gruv_socks.Socket()
        assert sock.connect("127.0.0.1", port)
        return lambda: (sock.write(BODY), sock.read())
    if protocol == "tinyproto":
        client = tinyproto.TinyProtoClient()
        connection = client.active_connections[client.connect_to("127.0.0.1", port)]
        return lambda: (connection.transmit(BODY), connection.receive())
    sender = minimalsockets.Socket()
    sender.connect(("127.0.0.1", port))
    return lambda: sender.send(BODY)


def trip_of_plain(protocol: str, port: int) -> Callable[[], Any]:
    if protocol == "msp":
        sender = plain.connect(plain.Msp, port)
        return lambda: sender.send_message(b"A", BODY)
    wire = plain.connect(plain.Frame if protocol == "frame" else plain.Tiny, port)
    return lambda: (wire.write(BODY), wire.read())


def cpu_seconds(pids: List[str]) -> float:
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def client(whose: str, protocol: str, port: int, seconds: float) -> int:
    trip = (trip_of_dropin if whose == "dropin" else trip_of_plain)(protocol, port)
    trip()
    together.wait()
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        for _ in range(10):
            trip()
        count += 10
    together.wait()
    return count


def echo(client_arguments: Tuple[Any, ...], clients: int, kind: str, pids: List[str]) -> None:
    global together  # for all clients and this function: before the first trip, and behind the last
    fork = multiprocessing.get_context("fork")
    if kind != "threads":
        together = fork.Barrier(clients + 1)
        pool = fork.Pool(clients)
        pids += [str(child.pid) for child in multiprocessing.active_children()]
    else:
        together = threading.Barrier(clients + 1)
        pool = ThreadPool(clients)
        pids += [str(os.getpid())]
    counts = pool.starmap_async(client, [client_arguments] * clients, chunksize=1)
    together.wait()
    began, cpu = time.perf_counter(), cpu_seconds(pids)
    together.wait()
    seconds, cpu = time.perf_counter() - began, cpu_seconds(pids) - cpu
    count = sum(counts.get())
    report(count, seconds)
    print(f"cpu_us={cpu / count * 1e6:.1f}")
    sys.stdout.flush()
    os._exit(0)  # connections of a bench need no good-bye


def main(words: List[str]) -> None:
    if words[0] == "send":
        send(words[1], int(words[2]), float(words[3]))
    elif words[0] == "many":
        many(words[1], int(words[2]), float(words[3]))
    elif words[0] == "serve":
        {"dropin": serve_dropin, "plain": serve_plain}[words[1]](words[2], int(words[3]))
    else:
        arguments = (words[1], words[2], int(words[3]), float(words[6]))
        echo(arguments, int(words[4]), words[5], words[8].split(","))


if __name__ == "__main__":
    main(sys.argv[1:])
