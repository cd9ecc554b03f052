#!/bin/sh
# Runs in the root of an image what its instructions say, with msockd as pid 1 of its own processes.
set -eu

mount --bind / /mnt
mount -o remount,bind,ro /mnt
for volume in $VOLUMES; do mount --bind "$volume" "/mnt$volume"; done
mount --rbind /dev /mnt/dev

inside() { # in the same processes and the same root: podman exec
    nsenter --target "$first" --pid --mount --root --wd=/ setpriv --reuid "$USER" --regid "$USER" \
        --clear-groups env $ENVIRONMENT "$@"
}

unshare --mount --propagation unchanged --pid --fork --kill-child sh -c 'mount -t proc proc /mnt/proc &&
    exec chroot /mnt setpriv --reuid "$1" --regid "$1" --clear-groups env $2 $3' sh "$USER" "$ENVIRONMENT" "$COMMAND" &
outside=$!
for try in $(seq 100); do
    first=$(cat /proc/$outside/task/$outside/children)
    first=${first%% *}
    [ -z "$first" ] || ! inside $HEALTH >/dev/null 2>&1 || break
    sleep 0.1
done
[ "$(inside $HEALTH)" = ok ] || exit 1
inside cat /proc/1/comm | grep -qx msockd
! touch /mnt/etc/x 2>/dev/null || exit 1
inside msock send 'to the image'
inside sh -c 'kill -TERM 1'
wait $outside
grep -q '"size":12,' /var/lib/msockd/journal/*.ndjson
echo "image: passed, step by step"
