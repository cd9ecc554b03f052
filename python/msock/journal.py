"""msock.journal reads what msockd's handler `journal` has kept, beside a running msockd or without one.

    for record in msock.journal.read("msockd-data", position="mine.position"):
        print(record["time"], record.body())

Each record is checked by its CRC-32, and comes once, in the order of ids over all segments. With a
position the next read() goes on where the last one stopped, across the rotation of segments.
"""

import base64
import contextlib
import hashlib
import heapq
import json
import os
import time
import zlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

from ._server import logger
from .errors import LocalError

SUFFIX = ".ndjson"
BEGIN = b'{"id":"'
CRC = b',"crc32":"'
END_LEN = len(CRC) + 10  # the CRC, and what ends its string and the line
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # of a ULID; the first ten are its time
TIME_LEN = 10
LATE_MS = 60000  # a segment may be named so much later than its first record
SAVE_EVERY = 1000  # records
LOOK_EVERY = 0.05  # seconds
READ_SIZE = 1 << 18

Path = Union[str, "os.PathLike[str]"]
Damaged = Callable[[str, int, bytes], Any]


class Record(Dict[str, Any]):
    """A record of the journal: a dict of the members that msockd(8) describes."""

    def __init__(self, members: Dict[str, Any], directory: str) -> None:
        super().__init__(members)
        self._directory = directory

    def body(self) -> bytes:
        """The bytes of the message, also those of a file or blob, checked by their SHA-256.

        A document is as it was sent but for line feeds and carriage returns, so it is not compared.
        OSError if its file is gone; LocalError if it is not what was committed.
        """
        if "text" in self:
            body = str(self["text"]).encode()
        elif "base64" in self:
            body = base64.b64decode(self["base64"])
        elif "json" in self:
            return self.document
        else:
            with open(os.path.join(self._directory, self.get("file") or self["blob"]), "rb") as file:
                body = file.read()
        if hashlib.sha256(body).hexdigest() != self["sha256"]:
            raise LocalError(f"the body of record {self['id']} is not what was committed")
        return body

    document = b""
    """The text of a document, as it stands in the journal."""


def warn_damaged(segment: str, offset: int, line: bytes) -> None:
    logger.warning("%s: the line at byte %d is damaged, and was passed over", segment, offset)


def may_be_old(line: bytes) -> bool:
    """May this be a line from before there was a CRC? One whose CRC is damaged is not like it."""
    return sum(a == b for a, b in zip(line[-END_LEN:], CRC)) < len(CRC) // 2


def parse(line: bytes, directory: str) -> Optional[Record]:
    """None for a line that is damaged, or stands in the place of what was."""
    body, end = line[:-END_LEN], line[-END_LEN:]
    if end != b'%s%08x"}' % (CRC, zlib.crc32(body)):
        if not may_be_old(line):
            return None
        body = line[:-1]
    try:
        members = json.loads(line)
    except ValueError:
        return None
    if not isinstance(members, dict) or not {"id", "sha256"} <= members.keys():
        return None
    record = Record(members, directory)
    if "json" in members:  # the last member but the CRC; no string before it has quotes unescaped
        record.document = body.partition(b'","json":')[2]
    return record


def records(line: bytes, directory: str) -> Iterator[Tuple[int, Union[Record, bytes]]]:
    """The length and the record of a line, or the bytes of a damaged one: of two, where the line feed
    between them is damaged."""
    record = parse(line, directory)
    at = line.find(BEGIN, 1) if record is None else -1
    while at > 0:
        second = parse(line[at:], directory)
        if second is not None:
            first = line[: at - 1]
            yield at, parse(first, directory) or first
            line, record = line[at:], second
            break
        at = line.find(BEGIN, at + 1)
    yield len(line) + 1, record or line


class Line(NamedTuple):
    id: str
    segment: "Segment"
    behind: int  # the offset of the next line
    record: Union[Record, bytes]  # bytes: those of a damaged line


class Segment:
    """One file of the journal, and how much of it is done."""

    def __init__(self, directory: str, name: str, done: int) -> None:
        self.directory = directory
        self.name = name
        self.done = done

    def lines(self) -> Iterator[Line]:
        """The whole lines that are there now and not done. A damaged one has the id before it."""
        last = self.name[:TIME_LEN]
        behind = self.done
        rest = b""
        with contextlib.suppress(FileNotFoundError):  # somebody has just taken it away
            with open(os.path.join(self.directory, "journal", self.name), "rb") as file:
                file.seek(behind)
                while chunk := file.read(READ_SIZE):
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        for length, record in records(line, self.directory):
                            behind += length
                            last = record["id"] if isinstance(record, Record) else last
                            yield Line(last, self, behind, record)


class Reader:
    """The records that nobody has read yet. read() is made of it."""

    def __init__(
        self, path: Path, position: Optional[Path] = None, damaged: Damaged = warn_damaged
    ) -> None:
        self.directory = os.fspath(path)
        self.position = os.fspath(position) if position is not None else None
        self.damaged = damaged
        self.segments: Dict[str, Segment] = {}
        self._offsets: Dict[str, int] = {}
        self._unsaved = 0
        if self.position is not None:
            self._offsets = load(self.position)

    def _names(self) -> List[str]:
        """The segments that are there now; what is gone is forgotten."""
        names = os.listdir(os.path.join(self.directory, "journal"))
        names = sorted(name for name in names if name.endswith(SUFFIX))
        for name in self.segments.keys() - set(names):
            del self.segments[name]
        for name in names:
            if name not in self.segments:
                offset = self._offsets.pop(name, 0)
                self.segments[name] = Segment(self.directory, name, offset)
        return names

    def _lines(self) -> Iterator[Line]:
        """In the order of ids. A segment is opened when its time has come."""
        names = self._names()
        names.reverse()
        heap: "List[Tuple[str, str, Line, Iterator[Line]]]" = []
        while names or heap:
            while names and (not heap or time_ms(names[-1]) <= time_ms(heap[0][0]) + LATE_MS):
                name = names.pop()
                push(heap, name, self.segments[name].lines())
            if heap:
                _, name, line, rest = heapq.heappop(heap)
                yield line
                push(heap, name, rest)

    def __iter__(self) -> Iterator[Record]:
        """What is there now, in the order of ids. A record is done when the next one is asked for."""
        for line in self._lines():
            if isinstance(line.record, Record):
                yield line.record
            else:
                self.damaged(line.segment.name, line.segment.done, line.record)
            line.segment.done = line.behind
            self._unsaved += 1
            if self._unsaved >= SAVE_EVERY:
                self.save()

    def save(self) -> None:
        """Keep the position, safe on the disk."""
        if self.position is None or self._unsaved == 0:
            return
        offsets = {name: segment.done for name, segment in self.segments.items()}
        save(self.position, offsets)
        self._unsaved = 0


def time_ms(ulid: str) -> int:
    """0 for what is none: it comes first."""
    ms = 0
    for digit in ulid[:TIME_LEN]:
        ms = ms * 32 + max(DIGITS.find(digit), 0)
    return ms


def push(
    heap: "List[Tuple[str, str, Line, Iterator[Line]]]", name: str, lines: Iterator[Line]
) -> None:
    line = next(lines, None)
    if line is not None:
        heapq.heappush(heap, (line.id, name, line, lines))


def load(path: str) -> Dict[str, int]:
    """No file is the beginning; what is no position is an error, since all would come again."""
    try:
        with open(path, encoding="utf-8") as file:
            offsets = json.load(file)["segments"]
        if all(isinstance(offset, int) for offset in offsets.values()):
            return dict(offsets)
    except FileNotFoundError:
        return {}
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    raise LocalError(f"{path} is not a position of msock.journal")


def save(path: str, offsets: Dict[str, int]) -> None:
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"segments": offsets}, file)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(directory)  # after a power cut the name would stand for the position before
    finally:
        os.close(directory)


def read(
    path: Path,
    position: Optional[Path] = None,
    *,
    follow: bool = False,
    damaged: Damaged = warn_damaged,
) -> Iterator[Record]:
    """Read the records of a data directory that are there now; with follow also those that come.

    position is a file that keeps where the reading stopped: without it, all records come each time.
    It is written at the end, when the iterator is closed, and every 1,000 records. A record is done
    when the next one is asked for; one that was not done comes again.

    A damaged line is passed over; damaged is called with the segment's name, the offset and the
    bytes. By default that is a warning of logging.getLogger("msock").
    """
    reader = Reader(path, position, damaged)
    return follow_records(reader) if follow else read_records(reader)


def read_records(reader: Reader) -> Iterator[Record]:
    try:
        yield from reader
    finally:
        reader.save()


def follow_records(reader: Reader) -> Iterator[Record]:
    while True:
        yield from read_records(reader)
        time.sleep(LOOK_EVERY)
