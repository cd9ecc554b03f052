#!/bin/sh
# Runs the tests of python/tests against the built module, and says how many there were as the other
# test programs do. run.sh sets MSOCK_BUILD, MSOCK_SOURCE and CMOCKA_TEST_FILTER.
set -u
python=${PYTHON:-/usr/bin/python3}
if [ ! -e "$MSOCK_BUILD/python/msock/_msock.abi3.so" ] || [ ! -x "$python" ]; then
    echo '[  SKIPPED ] python: the module is not built (make python)'
    echo '[  SKIPPED ] 1 test(s), listed below:'
    exit 0
fi
PYTHONPATH=$MSOCK_BUILD/python PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH PYTHONDONTWRITEBYTECODE
cd "$MSOCK_SOURCE/python/tests" || exit 1
exec "$python" -X dev run.py "$CMOCKA_TEST_FILTER"
