#!/usr/bin/env bash
# Rounds of the fault suite with default times: `tests/soak.sh ROUNDS`. They go on in the background when this is
# interrupted; the same command shows how far they are, and goes on where they were interrupted themselves.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:?usage: tests/soak.sh ROUNDS}
case $rounds in
'' | 0 | *[!0-9]*)
    echo "soak: ROUNDS is $rounds; write a number, such as 20" >&2
    exit 2
    ;;
esac
folder=target/soak
mkdir -p "$folder"

running() {
    local pid
    pid=$(cat "$folder/pid" 2>/dev/null) && grep -qs soak "/proc/$pid/cmdline"
}

if running; then
    echo "soak: it is running; this shows how far it is"
else
    # Built here, so that mistakes are seen at once.
    cargo test --locked --workspace --test faults --no-run
    rm -f "$folder/failed"
    # A session of its own: it does not end with this terminal.
    ROUNDS=$rounds setsid bash -c '
        echo $$ >"$1/pid"
        cargo test --locked --workspace --test faults soak -- --exact --ignored --nocapture >"$1/log" 2>&1 </dev/null ||
            touch "$1/failed"
        rm -f "$1/pid"' soak "$folder" &
    disown
    until running || [ -e "$folder/failed" ]; do sleep 0.2; done
    echo "soak: it runs in the background and goes on when this is interrupted; to end it: kill -- -$(cat "$folder/pid")"
fi

# The whole log of this run, until it ends.
if pid=$(cat "$folder/pid" 2>/dev/null); then
    tail -n +1 --pid="$pid" -f "$folder/log" | grep --line-buffered -v '^ *\(Compiling\|Finished\|Running\)' || true
fi
if [ -e "$folder/failed" ]; then
    echo "soak: it failed or was ended; $folder/log says why, the same command goes on with what is left" >&2
    exit 1
fi
