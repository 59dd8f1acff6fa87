#!/usr/bin/env bash
# Puts each bug of simulate/mutants into a copy of the sources, one at a time, and simulates until a law is broken: MUTANT_MINUTES (5)
# for each, while the next one is built. Prints a row for each bug: by which law it was found, and after how long. Fails if one is not found.
#
#   simulate/mutants.sh            all of them
#   simulate/mutants.sh NAME...    the named ones
set -euo pipefail
# Most of the program is the same in each.
export CARGO_INCREMENTAL=1

cd "$(dirname "${BASH_SOURCE[0]}")/.."
minutes="${MUTANT_MINUTES:-5}"
target="$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants"
copy="$target/sources"
mkdir -p "$target"
rm -rf "$copy"
git worktree prune
git worktree add --force --detach "$copy" HEAD >/dev/null 2>&1
trap 'jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true; git worktree remove --force "$copy"' EXIT

names=("$@")
if [[ ${#names[@]} == 0 ]]; then
    for patch in simulate/mutants/*.patch; do
        names+=("$(basename "${patch%.patch}")")
    done
fi
missed=0
simulating=""

# Starts to simulate the program that was built last, under a name of its own: the next one is built meanwhile.
simulate() {
    simulating="$1"
    mv "$target/release/simulate" "$target/simulate-$simulating"
    (
        began=$SECONDS
        code=0
        "$target/simulate-$simulating" --minutes "$minutes" --hours 24 --first >>"$target/$simulating.log" 2>&1 || code=$?
        rm "$target/simulate-$simulating"
        echo "$((SECONDS - began))" >"$target/$simulating.seconds"
        exit "$code"
    ) &
}

# Waits for the simulation that runs, and prints its row.
row() {
    local name="$simulating" found=0 law
    [[ -n "$name" ]] || return 0
    simulating=""
    wait $! || found=1
    if [[ "$name" == none ]]; then
        # Without a bug no law is broken: otherwise nothing is shown.
        if [[ "$found" == 1 ]]; then
            echo "mutants: a law is broken without any bug: $target/none.log" >&2
            exit 1
        fi
        printf '| bug | found by | after |\n| --- | --- | --- |\n'
    elif [[ "$found" == 0 ]]; then
        printf '| %s | NOT FOUND | %s s |\n' "$name" "$(<"$target/$name.seconds")"
        missed=1
    else
        law="$(sed -n 's/^seed [0-9]*: `\(.*\)` at .*/\1/p' "$target/$name.log" | head -n 1)"
        printf '| %s | %s | %s s |\n' "$name" "${law:-a panic}" "$(<"$target/$name.seconds")"
    fi
}

# The operator and the world in many small parts and hardly optimised: a changed file is built in a fraction of the time.
build() {
    local flags=() package
    for package in citrix-allowlist-operator simulate; do
        package="profile.bench.package.$package"
        flags+=(--config "$package.opt-level=1" --config "$package.codegen-units=256" --config "$package.debug=false")
    done
    (cd "$copy" && CARGO_TARGET_DIR="$target" cargo build --locked --quiet --profile bench --package simulate "${flags[@]}")
}

build
: >"$target/none.log"
simulate none
for name in "${names[@]}"; do
    git -C "$copy" checkout --quiet -- .
    log="$target/$name.log"
    problem=""
    if ! git -C "$copy" apply "$PWD/simulate/mutants/$name.patch" 2>"$log"; then
        problem="does not apply"
    elif ! build >>"$log" 2>&1; then
        problem="does not build"
    fi
    row
    if [[ -n "$problem" ]]; then
        printf '| %s | %s: %s | |\n' "$name" "$problem" "$log"
        missed=1
    else
        simulate "$name"
    fi
done
row
exit "$missed"
