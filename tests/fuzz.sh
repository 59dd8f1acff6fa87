#!/usr/bin/env bash
# Gives hostile input, made by libFuzzer, to every reader of outside input. Fails if an input is not read within bounds, and
# names the input.
#
#   tests/fuzz.sh                  every target, two at a time
#   tests/fuzz.sh TARGET...        list, dns, forward, manifest, endpoints
#   tests/fuzz.sh --keep           keep the last runs' inputs in fuzz/corpus: as few files as reach the same code
#
# FUZZ_MINUTES for each target (30). A failing file is in fuzz/artifacts: `fuzz/target/*/release/TARGET FILE` runs it
# again. Once that is fixed, put the file into fuzz/corpus/TARGET, which every `cargo test` replays.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="${CITRIX_ALLOWLIST_TOOLS:-$PWD/.build/bin}:$PATH"
minutes="${FUZZ_MINUTES:-30}"
targets=(list dns forward manifest endpoints)
keep=''
if [[ "${1:-}" == --keep ]]; then
    keep=1
    shift
fi
if (($# > 0)); then
    targets=("$@")
fi

options=(
    # fuzz/src/lib.rs checks the bounds of one input, 100 MiB and a second: it counts allocations and processor time. The bounds
    # here only catch an input that never ends: libFuzzer, its corpus and the program take some 300 MiB.
    -rss_limit_mb=1024
    -timeout=60
    -print_final_stats=1
)

# The longest input of target $1, in bytes. A message of DNS has 64 KiB at most, lists come compressed; and a hundred resources
# test as much as a thousand.
longest() {
    if [[ "$1" == manifest ]]; then echo 32768; else echo 131072; fi
}

# One target, named $1.
run() {
    local target="$1" log="fuzz/artifacts/$1.log" status=0
    mkdir -p "fuzz/artifacts/$target" "fuzz/grown/$target"
    nice -n 15 "$programs/$target" "${options[@]}" -dict="fuzz/words/$target" -max_len="$(longest "$target")" -max_total_time=$((minutes * 60)) \
        -artifact_prefix="fuzz/artifacts/$target/" "fuzz/grown/$target" "fuzz/corpus/$target" >"$log" 2>&1 || status=$?
    if [[ $status == 0 ]]; then
        echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, nothing found"
    else
        echo "$target: FAILED, see $log" >&2
        grep -h -A1 'panicked at\|^==.*ERROR\|Test unit written' "$log" | tail -n 20 >&2
    fi
    return "$status"
}

# Adds the inputs that target $1 found to its corpus, each file cut to 4 KiB: people write the few large ones.
keep() {
    local target="$1" fewest
    fewest="$(mktemp -d)"
    "$programs/$target" "${options[@]}" -max_len=4096 -set_cover_merge=1 "$fewest" "fuzz/corpus/$target" "fuzz/grown/$target" 2>/dev/null
    # Files that people wrote have a name, and stay.
    find "fuzz/corpus/$target" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
    local known file
    known="$(cd "fuzz/corpus/$target" && sha1sum ./* | cut -d ' ' -f 1)"
    for file in "$fewest"/*; do
        grep -q "$(basename "$file")" <<<"$known" || cp "$file" "fuzz/corpus/$target/"
    done
    rm -r "$fewest"
    echo "$target: $(find "fuzz/corpus/$target" -type f | wc -l) files, $(du -sh "fuzz/corpus/$target" | cut -f 1)"
}

echo "building the fuzzers"
# No sanitizer: there is no unsafe code here to catch, and each needs an unreleased compiler.
cargo fuzz build --sanitizer none --codegen-units 16
programs="fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release"

if [[ -n "$keep" ]]; then
    for target in "${targets[@]}"; do keep "$target"; done
    exit
fi

echo "fuzzing ${targets[*]}, two at a time, $minutes minutes each"
export programs minutes
status=0
running=()
for target in "${targets[@]}"; do
    if ((${#running[@]} == 2)); then
        wait "${running[0]}" || status=1
        running=("${running[@]:1}")
    fi
    run "$target" &
    running+=($!)
done
for process in "${running[@]}"; do wait "$process" || status=1; done
exit "$status"
