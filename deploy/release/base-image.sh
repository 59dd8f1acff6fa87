#!/usr/bin/env bash
# The build image of a release: its name in the Dockerfile, its digest, and whether an image was built in it. A digest is
# never written by hand: the registry answers it, and the script computes it again from the answer.
#
#   deploy/release/base-image.sh name                  the reference in the Dockerfile
#   deploy/release/base-image.sh resolve               the same with the digest that the registry has for it
#   deploy/release/base-image.sh verify REFERENCE      reads an image's provenance; fails unless it was built in REFERENCE
#
# DOCKERFILE  the file to read, instead of the repository's.
# Needs jq, and for `resolve` docker with buildx.
set -euo pipefail

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
dockerfile="${DOCKERFILE:-$repository/Dockerfile}"
digest_form='^sha256:[0-9a-f]{64}$'

fail() {
    echo "base-image: $*" >&2
    exit 1
}

# The one image that is not `scratch`.
name() {
    local names
    names="$(sed -n 's/^ARG RUST_IMAGE=//p' "$dockerfile")"
    [[ -n "$names" && "$names" != *$'\n'* ]] || fail "$dockerfile does not say ARG RUST_IMAGE=... once"
    local from
    from="$(grep -E '^FROM ' "$dockerfile" | grep -vE '^FROM (\$\{RUST_IMAGE\} AS build|scratch)$' || true)"
    [[ -z "$from" ]] || fail "$dockerfile builds from something else too: $from"
    printf '%s\n' "$names"
}

resolve() {
    local reference manifest digest counted platform
    reference="$(name)"
    manifest="$(docker buildx imagetools inspect "$reference" --format '{{json .Manifest}}')" ||
        fail "the registry does not answer for $reference"
    digest="$(jq -r '.digest // ""' <<<"$manifest")"
    [[ "$digest" =~ $digest_form ]] || fail "the registry gives no digest of $reference: $digest"
    if [[ "$reference" == *@* && "${reference##*@}" != "$digest" ]]; then
        fail "the Dockerfile says ${reference##*@}, the registry $digest"
    fi
    # One image builds both platforms: it is an index with both.
    for platform in amd64 arm64; do
        jq -e --arg architecture "$platform" \
            'any(.manifests[]?; .platform.os == "linux" and .platform.architecture == $architecture)' <<<"$manifest" \
            >/dev/null || fail "$reference has no linux/$platform"
    done
    # The registry has content under this digest, and the content matches it.
    counted="sha256:$(docker buildx imagetools inspect --raw "${reference%%@*}@$digest" | sha256sum | cut -d ' ' -f 1)"
    [[ "$counted" == "$digest" ]] || fail "the registry says $digest, and what it has there is $counted"
    printf '%s@%s\n' "${reference%%@*}" "$digest"
}

verify() {
    local reference="$1" repository_name built
    local digest="${reference##*@}"
    [[ "$reference" == *@* && "$digest" =~ $digest_form ]] || fail "$reference names no digest"
    # docker.io/library/rust:1.2.3-alpine is pkg:docker/rust@1.2.3-alpine to BuildKit.
    repository_name="${reference%@*}"
    repository_name="${repository_name%:*}"
    repository_name="${repository_name#docker.io/}"
    repository_name="${repository_name#library/}"
    # SLSA 0.2 calls them materials, SLSA 1 resolvedDependencies.
    built="$(jq -r --arg name "pkg:docker/$repository_name@" '
        [.. | objects | (.materials?, .resolvedDependencies?) | arrays | .[] | objects
         | select((.uri? // "") | startswith($name)) | "sha256:" + (.digest.sha256? // "")] | unique | .[]')"
    [[ -n "$built" ]] || fail "the provenance names no image $repository_name that it was built in"
    [[ "$built" == "$digest" ]] || fail "built in ${built//$'\n'/, }, and not in $digest"
}

case "${1:-}" in
name) name ;;
resolve) resolve ;;
verify) verify "${2:?a reference is needed}" ;;
*)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
