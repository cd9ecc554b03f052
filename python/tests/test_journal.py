"""msock.journal.read against what msockd writes, and against what a disk does to it."""

import glob
import hashlib
import itertools
import json
import os
import signal
import stat
import threading
import unittest.mock
from typing import Any, List

import msock
import msock.journal
from support import PATIENCE, TestCase, until


class Reading(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.msockd = self.daemon("msp://127.0.0.1:0", workers=2)
        self.sender = self.client("msp://" + self.msockd.addresses[0])
        self.position = self.path("position")

    def read(self, **options: Any) -> "List[msock.journal.Record]":
        return list(msock.journal.read(self.msockd.data, self.position, **options))

    def texts(self) -> List[str]:
        return [record["text"] for record in self.read()]

    def segments(self) -> List[str]:
        return sorted(glob.glob(os.path.join(self.msockd.data, "journal", "*.ndjson")))

    def test_every_kind_of_record(self) -> None:
        large, file = os.urandom(100_000), os.urandom(300_000)
        document = {"a": ['","json":', 1]}
        self.sender.send("text", id='x","json":')
        self.sender.send(b"\xff\0")
        self.sender.send_json(document)
        self.sender.send(large)
        self.sender.send_file(self.path("disk.img", file))
        records = self.read()
        self.assertEqual([record["kind"] for record in records], ["plain"] * 2 + ["json", "plain", "file"])
        bodies = [b"text", b"\xff\0", records[2].document, large, file]
        self.assertEqual([record.body() for record in records], bodies)
        self.assertEqual(json.loads(records[2].document), document)
        self.assertEqual(records[2]["json"], document)
        self.assertEqual(records[2]["sha256"], hashlib.sha256(records[2].document).hexdigest())
        self.assertEqual([record["id"] for record in records], sorted(r["id"] for r in records))
        os.truncate(os.path.join(self.msockd.data, "files", "disk.img"), 10)
        with self.assertRaises(msock.LocalError):
            records[4].body()

    def test_each_record_comes_once_across_rotation(self) -> None:
        self.assertEqual(self.texts(), [])
        self.sender.send("one")
        self.sender.send("two")
        self.assertEqual(self.texts(), ["one", "two"])
        self.assertEqual(self.texts(), [])
        self.sender.send("three")
        self.msockd.control("reopen")
        self.sender.send("four")
        self.msockd.control("reload")
        self.sender.send("five")
        self.assertEqual(self.texts(), ["three", "four", "five"])
        for path in self.segments()[:1]:
            os.unlink(path)
        self.sender.send("six")
        self.assertEqual(self.texts(), ["six"])
        without = [record["text"] for record in msock.journal.read(self.msockd.data)]
        self.assertEqual(without[-1], "six")

    def test_many_workers_are_merged(self) -> None:
        clients = [self.client("msp://" + self.msockd.addresses[0]) for _ in range(8)]
        for i in range(50):
            for n, client in enumerate(clients):
                client.send(f"{n}.{i}")
        records = self.read()
        self.assertGreater(len(self.segments()), 1)
        self.assertEqual(len({record["text"] for record in records}), 400)
        self.assertEqual([r["id"] for r in records], sorted(r["id"] for r in records))

    def test_a_record_that_was_not_done_comes_again(self) -> None:
        for text in ("one", "two", "three"):
            self.sender.send(text)
        with self.assertRaises(LookupError):
            for record in msock.journal.read(self.msockd.data, self.position):
                if record["text"] == "two":
                    raise LookupError
        self.assertEqual(self.texts(), ["two", "three"])
        self.sender.send("four")
        self.sender.send("five")
        reader = msock.journal.Reader(self.msockd.data, self.position)
        self.assertEqual([r["text"] for r in itertools.islice(reader, 2)], ["four", "five"])
        self.assertEqual([r["text"] for r in reader], ["five"])
        reader.save()
        self.assertEqual(self.texts(), [])

    def test_a_position_is_on_the_disk_under_its_name(self) -> None:
        self.sender.send("one")
        synced: List[bool] = []

        def note(fd: int) -> None:
            synced.append(stat.S_ISDIR(os.fstat(fd).st_mode) and os.path.exists(self.position))

        with unittest.mock.patch("os.fsync", note):
            self.assertEqual(self.texts(), ["one"])
        self.assertEqual(synced, [False, True])

    def test_following(self) -> None:
        texts = ["one", "two", "three"]

        def send() -> None:
            for text in texts:
                self.sender.send(text)
                self.msockd.control("reopen")

        thread = threading.Thread(target=send)
        records = msock.journal.read(self.msockd.data, self.position, follow=True)
        thread.start()
        self.assertEqual([next(records)["text"] for _ in texts], texts)
        thread.join()
        records.close()  # type: ignore[attr-defined]
        self.assertEqual(self.texts(), ["three"])

    def test_damaged_lines_are_told_and_passed_over(self) -> None:
        for text in ("one", "two", "three"):
            self.sender.send(text)
        self.msockd.stop()
        damaged: List[Any] = []
        (path,) = self.segments()
        with open(path, "rb") as file:
            lines = file.readlines()
        os.chmod(path, 0o600)
        with open(path, "wb") as file:
            file.write(lines[0] + lines[1].replace(b'"two"', b'"twx"') + lines[2])
            file.write(b'{"damaged":{"bytes":9}}  \n' + lines[0][:50])
        records = self.read(damaged=lambda *args: damaged.append(args))
        self.assertEqual([record["text"] for record in records], ["one", "three"])
        name = os.path.basename(path)
        self.assertEqual([d[:2] for d in damaged], [(name, len(lines[0])), (name, sum(map(len, lines)))])
        self.assertIn(b'"twx"', damaged[0][2])
        self.assertEqual(self.read(damaged=lambda *args: self.fail()), [])
        with open(path, "ab") as file:
            file.write(lines[0][50:])
        self.assertEqual(self.texts(), ["one"])

    def test_a_damaged_line_outlives_its_segment(self) -> None:
        for text in ("one", "two", "three"):
            self.sender.send(text)
        self.msockd.stop()
        (path,) = self.segments()
        with open(path, "rb") as file:
            content = file.read()
        os.chmod(path, 0o600)
        with open(path, "wb") as file:
            file.write(content.replace(b'"two"', b'"twx"'))
        damaged: List[bytes] = []
        records = msock.journal.read(self.msockd.data, damaged=lambda *args: damaged.append(args[2]))
        self.assertEqual(next(records)["text"], "one")
        os.unlink(path)
        self.assertEqual([record["text"] for record in records], ["three"])
        self.assertEqual([b'"twx"' in line for line in damaged], [True])

    def test_any_flipped_bit_is_found(self) -> None:
        """Also one in the name of the CRC, and one in the line feed between two records."""
        self.sender.send("one")
        self.sender.send("two")
        self.msockd.stop()
        (path,) = self.segments()
        with open(path, "rb") as file:
            content = file.read()
        os.chmod(path, 0o600)
        second = content.index(b"\n") + 1
        for at in range(second - 24, second + 24):
            for bit in range(8):
                damaged: List[Any] = []
                flipped = bytearray(content)
                flipped[at] ^= 1 << bit
                with open(path, "wb") as file:
                    file.write(flipped)
                records = msock.journal.read(self.msockd.data, damaged=lambda *args: damaged.append(args))
                texts = [record["text"] for record in records]
                if at == second - 1:
                    self.assertEqual((texts, damaged), (["one", "two"], []))
                else:
                    self.assertEqual(texts, ["two"] if at < second else ["one"], f"bit {bit} of {at}")
                    self.assertEqual(b"".join(line for _, _, line in damaged).count(b"sha256"), 1)

    def test_no_journal_and_no_position(self) -> None:
        with self.assertRaises(FileNotFoundError):
            list(msock.journal.read(self.path("nothing")))
        with self.assertRaises(TypeError):
            msock.journal.read(5)  # type: ignore[arg-type]
        for content in (b"", b"[]", b'{"segments":{"a":"b"}}', b"\xff"):
            self.path("position", content)
            with self.assertRaises(msock.LocalError):
                self.read()

    def test_an_interrupt_ends_following(self) -> None:
        from support import interrupted

        with self.assertRaises(KeyboardInterrupt), interrupted():
            list(msock.journal.read(self.msockd.data, follow=True))
