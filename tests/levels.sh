#!/usr/bin/env bash
# Runs every level of tests and fails where a level ran no test.
set -euo pipefail
cd "$(dirname "$0")/.."

level() {
    local name=$1
    shift
    local log
    log=$(mktemp)
    echo "== $name"
    cargo test --locked "$@" 2>&1 | tee "$log"
    local ran
    ran=$(awk '/^test result: ok\./ { sum += $4 } END { print sum + 0 }' "$log")
    rm -f "$log"
    if [ "$ran" -eq 0 ]; then
        echo "level $name ran no test; a level without tests is a failure" >&2
        exit 1
    fi
    echo "== $name: $ran passed"
}

level unit --workspace --lib --bins
level tidy -p streamkeeper-tests --test tidy
level wire -p streamkeeper-tests --test wire
