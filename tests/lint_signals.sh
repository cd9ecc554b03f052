#!/bin/sh
# Tests send signals with support/signals.h, which refuses a pid that was never read. Prints every
# other call as FILE:LINE: text, and exits 1 where there is one.
set -eu
cd "$(dirname "$0")/.."

# A call in the source, not in a comment or in the text of a shell command.
found=$(grep -rnE '^[^"*]*\<(kill|killpg|tgkill|sigqueue|pidfd_send_signal)\(' tests --include='*.[ch]' |
    grep -v '^tests/support/signals\.[ch]:') || true
[ -z "$found" ] && exit 0
echo "$found"
echo 'lint_signals.sh: use signal_send or signal_group of tests/support/signals.h' >&2
exit 1
