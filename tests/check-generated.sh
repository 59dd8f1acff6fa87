#!/usr/bin/env bash
# Compares the generated files with the code's output, and fails if they differ.
#
#   tests/check-generated.sh            compare
#   tests/check-generated.sh --write    write them again
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Each generated file, and the command that prints it.
files=(crds/citrixallowlists.yaml docs/reference/cli.md docs/reference/citrixallowlist.md docs/metrics.md docs/reasons.md docs/problems.md
    docs/alerts.md src/manifests/validate/schema.json)
commands=(crd "reference commands" "reference resource" "reference metrics" "reference reasons" "reference problems" "reference alerts"
    "reference schema")

case "${1:-}" in
--write | "") ;;
*)
    sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

# Built as the tests build it, so that each reuses the other's build.
echo "building the command that prints them"
cargo build --locked --quiet --workspace --bins
program="${CARGO_TARGET_DIR:-target}/debug/citrix-allowlist"

fresh="$(mktemp)"
trap 'rm -f "$fresh"' EXIT
stale=0
for index in "${!files[@]}"; do
    file="${files[index]}"
    # Words, not one argument.
    # shellcheck disable=SC2086
    "$program" ${commands[index]} >"$fresh"
    if [[ ! -s "$fresh" ]]; then
        echo "check-generated: the \`${commands[index]}\` command printed nothing" >&2
        exit 1
    fi
    if [[ "${1:-}" == --write ]]; then
        mkdir -p "$(dirname "$file")"
        # Not moved: a temporary file is for its owner's eyes only.
        cat "$fresh" >"$file"
        echo "written: $file"
    elif ! diff -u "$file" "$fresh"; then
        echo "check-generated: $file is stale: run \`make generate\` and commit what it writes" >&2
        stale=1
    else
        echo "fresh: $file"
    fi
done
exit "$stale"
