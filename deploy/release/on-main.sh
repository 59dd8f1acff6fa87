#!/usr/bin/env bash
# Refuses a commit that is not on main: the right to push a tag, without main, makes no release.
#
#   deploy/release/on-main.sh COMMIT [MAIN]     MAIN: the branch as it was fetched, origin/main
set -euo pipefail

commit="${1:?a commit is needed}"
main="${2:-origin/main}"

# A branch that was not fetched refuses too.
if ! git rev-parse --quiet --verify "$main^{commit}" >/dev/null; then
    echo "on-main: $main is not known here: fetch it first" >&2
    exit 1
fi
if ! git merge-base --is-ancestor "$commit" "$main"; then
    echo "on-main: $commit is not on $main: merge it there, then tag what was merged" >&2
    exit 1
fi
