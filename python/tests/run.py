"""Runs all tests of this directory, or those whose names begin with the argument ("name*"), and says
how many there were in the words that tests/run.sh counts."""

import sys
import unittest
from typing import Iterator


def each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        else:
            yield test


def main() -> int:
    start = sys.argv[1].rstrip("*") if len(sys.argv) > 1 else ""
    suite = unittest.TestSuite()
    for test in each(unittest.defaultTestLoader.discover(".")):
        if test.id().rpartition(".")[2].startswith(("test_" + start, start)):
            suite.addTest(test)
    result = unittest.TextTestRunner(verbosity=1, warnings="error").run(suite)
    bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    print(f"[  PASSED  ] {result.testsRun - bad - skipped} test(s).")
    if skipped:
        print(f"[  SKIPPED ] {skipped} test(s), listed below:")
    for test, reason in result.skipped:
        print(f"[  SKIPPED ] {test.id()}: {reason}")
    if bad:
        print(f"[  FAILED  ] {bad} test(s), listed below:")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
