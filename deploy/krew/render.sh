#!/usr/bin/env bash
# Prints krew's manifest of a release, out of deploy/krew/citrix-allowlist.yaml.
#
#   deploy/krew/render.sh VERSION REPOSITORY FOLDER
#
# VERSION     without the `v`
# REPOSITORY  owner/name on GitHub
# FOLDER      holds the archives, citrix-allowlist-OS-ARCHITECTURE.tar.gz, of every platform that the manifest names
set -euo pipefail

if (($# != 3)); then
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
version="$1" repository="$2" folder="$3"
manifest="$(<"$(dirname "${BASH_SOURCE[0]}")/citrix-allowlist.yaml")"
# Its first line speaks of this file.
manifest="${manifest#*$'\n'}"
manifest="${manifest//@VERSION@/v$version}"
manifest="${manifest//@REPOSITORY@/$repository}"
while [[ "$manifest" =~ @SHA256:([a-z0-9-]+)@ ]]; do
    archive="$folder/citrix-allowlist-${BASH_REMATCH[1]}.tar.gz"
    if [[ ! -f "$archive" ]]; then
        echo "krew: $archive is missing" >&2
        exit 1
    fi
    sum="$(sha256sum "$archive" | cut -d ' ' -f 1)"
    manifest="${manifest//"${BASH_REMATCH[0]}"/$sum}"
done
printf '%s\n' "$manifest"
