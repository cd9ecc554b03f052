#!/bin/sh
# Builds the image of Containerfile and runs it as a container is run: msockd is pid 1, an ordinary user,
# on a root that is only read, with two volumes. Takes podman or docker where they work; else takes the
# steps of the file, one by one, in clean roots.
set -eu
cd "$(dirname "$0")/.."

engine=
for candidate in podman docker; do
    [ -n "$engine" ] || ! $candidate info >/dev/null 2>&1 || engine=$candidate
done
if [ -n "$engine" ]; then
    $engine build -t msockd-test -f Containerfile .
    container=$($engine run -d --rm --read-only msockd-test)
    trap '$engine kill "$container" >/dev/null 2>&1 || :' EXIT
    until $engine exec "$container" msockctl health >/dev/null 2>&1; do sleep 0.2; done
    $engine exec "$container" msock send 'to the image'
    $engine stop "$container" >/dev/null
    echo "image: passed, with $engine"
    exit
fi

. packages/chroot.sh

# Every instruction in a line, as the file means it.
instructions() {
    sed -e '/^#/d' -e ':more' -e '/\\$/{N;s/\\\n *//;b more' -e '}' -e '/^$/d' Containerfile
}

# The words of an instruction that is a list: ENTRYPOINT ["msockd", "-c"].
words() { # NAME
    sed -n "s/^$1 *\(CMD *\)*\[\"\(.*\)\"\]$/\2/p" "$packages/stage" | sed 's/", "/ /g'
}

instructions >"$packages/instructions"
while read -r word rest; do
    case $word in
    FROM)
        [ ! -d "$root" ] || mv "$root" "$root.build"
        trap 'rm -rf "$root" "$root.build"' EXIT
        chroot_create
        : >"$packages/stage"
        ;;
    RUN) chroot_run sh -c "$rest" >"$packages/image.log" 2>&1 || fail "RUN $rest: see $packages/image.log" ;;
    COPY)
        case $rest in
        --from=build*)
            mkdir -p "$root/packages"
            cp "$root.build"/build/*.deb "$root/packages/"
            ;;
        *)
            mkdir -p "$root${rest##* }"
            git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$root${rest##* }"
            ;;
        esac
        ;;
    *) echo "$word $rest" >>"$packages/stage" ;;
    esac
done <"$packages/instructions"

environment=$(sed -n 's/^ENV //p' "$packages/stage")
user=$(sed -n 's/^USER //p' "$packages/stage")
for volume in $(sed -n 's/^VOLUME //p' "$packages/stage"); do
    [ "$(chroot_run stat -c %U "$volume")" = "$user" ] || fail "$volume is not $user's"
done
cp packages/container.sh "$root/"
LIMIT=120 chroot_run_alone env ENVIRONMENT="$environment" USER="$user" HEALTH="$(words HEALTHCHECK)" \
    VOLUMES="$(sed -n 's/^VOLUME //p' "$packages/stage")" \
    COMMAND="$(words ENTRYPOINT) $(words CMD)" sh /container.sh
