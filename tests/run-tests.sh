#!/usr/bin/env bash
# Runs every test: builds them all, then runs several test binaries at a time, and prints the output of each at its end. Tests
# mostly wait for a control plane to start or for a TTL to pass, so they wait at the same time.
#
#   tests/run-tests.sh            all of them
#   tests/run-tests.sh NAME...    the named ones: `lib`, or a file or folder of tests/, or a file of crates/*/tests/ or tests/support/tests/,
#                                 or a file or folder of simulate/tests/
#
# TEST_JOBS binaries at a time (2), TEST_THREADS tests at a time in each (4).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export TEST_THREADS="${TEST_THREADS:-4}"

# One binary, named $1. Its output is printed at its end, so that outputs do not mix.
one() {
    local name="$1" log status=0
    local -a selection=(--test "$name")
    case "$name" in
    lib) selection=(--lib --bins) ;;
    doc) selection=(--doc) ;;
    esac
    log="$(mktemp)"
    cargo test --workspace --locked --quiet "${selection[@]}" -- --test-threads "$TEST_THREADS" >"$log" 2>&1 || status=$?
    {
        flock 9
        grep -h '^test result' "$log" >>"$TALLY" || true
        # A part that a test leaves out is reported, and counts as skipped.
        grep -h '^left out: ' "$log" >>"$LEFT_OUT" || true
        if [[ $status == 0 ]]; then
            grep -h '^test result' "$log" | grep -v ' 0 passed' | sed "s/^test result/$(printf '%-14s' "$name")/" || true
            grep -h '^left out: ' "$log" || true
        else
            printf '\n%s FAILED\n' "$name"
            cat "$log"
        fi
    } 9>"$LOCK"
    rm -f "$log"
    return "$status"
}

if [[ "${1:-}" == --one ]]; then
    one "$2"
    exit
fi

echo "building every test"
cargo test --workspace --locked --no-run --quiet

# The slowest first, so that no long one runs alone at the end.
first=(chart main_job faults docs dns_truths)
names=()
for path in tests/*.rs tests/*/main.rs crates/*/tests/*.rs tests/support/tests/*.rs simulate/tests/*.rs simulate/tests/*/main.rs; do
    [[ -e "$path" ]] || continue
    name="${path%/main.rs}"
    names+=("$(basename "${name%.rs}")")
done
if (($# > 0)); then
    chosen=("$@")
else
    chosen=()
    for name in "${first[@]}"; do
        [[ " ${names[*]} " == *" $name "* ]] && chosen+=("$name")
    done
    for name in "${names[@]}" lib doc; do
        [[ " ${first[*]} " == *" $name "* ]] || chosen+=("$name")
    done
fi

LOCK="$(mktemp)" TALLY="$(mktemp)" LEFT_OUT="$(mktemp)"
export LOCK TALLY LEFT_OUT
trap 'rm -f "$LOCK" "$TALLY" "$LEFT_OUT"' EXIT
echo "running ${#chosen[@]} test binaries, ${TEST_JOBS:-2} at a time"
status=0
printf '%s\n' "${chosen[@]}" | xargs -P "${TEST_JOBS:-2}" -n 1 "$0" --one || status=1
awk -v left="$(wc -l <"$LEFT_OUT")" '
    { passed += $4; failed += $6; ignored += $8 }
    END { printf "%d passed, %d failed, %d skipped\n", passed - left, failed, ignored + left }
' "$TALLY"
exit "$status"
