#!/usr/bin/env bash
# Puts each bug of simulate/mutants into a copy of the sources, one at a time, and simulates until a law is broken: MUTANT_MINUTES (5)
# for each. Prints a row for each bug: by which law it was found, and after how long. Fails if one is not found.
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
trap 'git worktree remove --force "$copy"' EXIT

names=("$@")
if [[ ${#names[@]} == 0 ]]; then
    for patch in simulate/mutants/*.patch; do
        names+=("$(basename "${patch%.patch}")")
    done
fi
missed=0
# Without a bug no law is broken: otherwise nothing is shown.
(cd "$copy" && CARGO_TARGET_DIR="$target" cargo build --locked --quiet --profile bench --package simulate)
if ! "$target/release/simulate" --minutes "$minutes" --hours 24 --first >"$target/none.log" 2>&1; then
    echo "mutants: a law is broken without any bug: $target/none.log" >&2
    exit 1
fi
printf '| bug | found by | after |\n| --- | --- | --- |\n'
for name in "${names[@]}"; do
    git -C "$copy" checkout --quiet -- .
    log="$target/$name.log"
    if ! git -C "$copy" apply "$PWD/simulate/mutants/$name.patch" 2>"$log"; then
        printf '| %s | does not apply: %s | |\n' "$name" "$log"
        missed=1
        continue
    fi
    if ! (cd "$copy" && CARGO_TARGET_DIR="$target" cargo build --locked --quiet --profile bench --package simulate) >>"$log" 2>&1; then
        printf '| %s | does not build: %s | |\n' "$name" "$log"
        missed=1
        continue
    fi
    began=$SECONDS
    if "$target/release/simulate" --minutes "$minutes" --hours 24 --first >>"$log" 2>&1; then
        printf '| %s | NOT FOUND | %s s |\n' "$name" "$((SECONDS - began))"
        missed=1
    else
        law="$(sed -n 's/^seed [0-9]*: `\(.*\)` at .*/\1/p' "$log" | head -n 1)"
        printf '| %s | %s | %s s |\n' "$name" "${law:-a panic}" "$((SECONDS - began))"
    fi
done
exit "$missed"
