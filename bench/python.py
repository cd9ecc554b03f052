"""What bench/python.sh measures, in processes of its own; prints "rate=N" in messages a second.

    python.py send URL SIZE SECONDS         one message after the other, msock.Client
    python.py many URL SIZE SECONDS         send_many
    python.py serve WHOSE PROTOCOL PORT     an echo, until a signal: of the drop-in or in plain Python
    python.py echo WHOSE PROTOCOL PORT CONNECTIONS SECONDS
                                            round trips of 64 bytes, a thread for each connection

WHOSE is dropin or plain. PROTOCOL is tinyproto, frame (gruv_socks) or msp (minimalsockets, which has
no replies: a trip is a message and its last ACK). The peers in plain Python are those of the tests.
"""

import os
import sys
import threading
import time
from typing import Any, Callable, Iterator, List

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


def serve_plain(protocol: str, port: int) -> None:
    wires = {"frame": plain.Frame, "tinyproto": plain.Tiny, "msp": plain.Msp}
    take = plain.echo if protocol != "msp" else plain.MspStore()
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


def echo(whose: str, protocol: str, port: int, connections: int, seconds: float) -> None:
    make = trip_of_dropin if whose == "dropin" else trip_of_plain
    trips = [make(protocol, port) for _ in range(connections)]
    counts: List[int] = [0] * connections
    for trip in trips:
        trip()
    began = time.perf_counter()

    def run(i: int) -> None:
        trip = trips[i]
        while time.perf_counter() - began < seconds:
            for _ in range(10):
                trip()
            counts[i] += 10

    threads = [threading.Thread(target=run, args=(i,)) for i in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report(sum(counts), time.perf_counter() - began)
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
        echo(words[1], words[2], int(words[3]), int(words[4]), float(words[5]))


if __name__ == "__main__":
    main(sys.argv[1:])
