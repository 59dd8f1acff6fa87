#!/usr/bin/env bash
# Compares the generated files with what the code would write now, and fails where they differ.
#
#   tests/check-generated.sh            compare
#   tests/check-generated.sh --write    write them anew
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

definition=crds/citrixallowlists.yaml

fresh="$(mktemp)"
trap 'rm -f "$fresh"' EXIT
cargo run --locked --quiet --bin citrix-allowlist -- crd >"$fresh"
if [[ ! -s "$fresh" ]]; then
    echo "check-generated: the \`crd\` command printed nothing" >&2
    exit 1
fi

case "${1:-}" in
--write)
    mkdir -p "$(dirname "$definition")"
    # Not moved: a temporary file is for its owner's eyes only.
    cat "$fresh" >"$definition"
    echo "written: $definition"
    ;;
"")
    if ! diff -u "$definition" "$fresh"; then
        echo "check-generated: $definition is stale: run \`make generate\` and commit what it writes" >&2
        exit 1
    fi
    echo "fresh: $definition"
    ;;
*)
    sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
