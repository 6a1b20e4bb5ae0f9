#!/usr/bin/env bash
# Runs every level of tests and fails where a level ran no test. `tests/levels.sh e2e` runs one level alone.
set -euo pipefail
cd "$(dirname "$0")/.."

only=${1:-}
seen=no

# Every level selects from the whole workspace: with `-p`, cargo would choose other features of the dependencies and
# build them once more for each level.
level() {
    local name=$1
    shift
    if [ -n "$only" ] && [ "$only" != "$name" ]; then
        return
    fi
    seen=yes
    local log ran begin=$SECONDS
    log=$(mktemp)
    echo "== $name"
    if ! cargo test --locked --workspace "$@" 2>&1 | tee "$log"; then
        rm -f "$log"
        echo "== $name: failed after $((SECONDS - begin)) s" >&2
        exit 1
    fi
    ran=$(awk '/^test result: ok\./ { sum += $4 } END { print sum + 0 }' "$log")
    rm -f "$log"
    if [ "$ran" -eq 0 ]; then
        echo "level $name ran no test; a level without tests is a failure" >&2
        exit 1
    fi
    echo "== $name: $ran passed in $((SECONDS - begin)) s"
}

# Examples are programs that the agent's tests start; only a build without a choice of targets makes them.
cargo test --locked --workspace --no-run

level unit --lib --bins
level doc --doc
level tidy --test tidy
level wire --test wire
# As many seeds as the machine of a check can bear; `make sim` runs more of them, optimised.
SEEDS=2000 level simulation --test simulation
level guard --test guard
# Tests of these levels start servers and processes: a bound keeps two cores from being fought over.
level integration --test integration -- --test-threads 4
level e2e --test e2e -- --test-threads 3
# Fleets that are hurt, one on each stage. They mostly wait.
level faults --test faults -- --test-threads 3

if [ "$seen" = no ]; then
    echo "there is no level $only" >&2
    exit 2
fi
