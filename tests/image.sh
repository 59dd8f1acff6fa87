#!/usr/bin/env bash
# Builds the image without a registry of images, and checks its content.
#
#   tests/image.sh [BINARY]     BINARY: a static one that is there already, instead of a release build
#
# IMAGE_SIZE_LIMIT  the most bytes of the image's files, instead of 20,000,000: for a BINARY that is no release build.
# IMAGE_REPRODUCE   set: the release is built a second time, in another folder, and has to be the same to the last byte.
#
# buildah builds the Dockerfile's last stage unchanged. The first stage needs an image of Rust, so a folder with its results
# replaces it. Needs root, buildah, and for the build what tests/build-release.sh needs
# (Debian: `apt-get install buildah musl-tools`).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

limit="${IMAGE_SIZE_LIMIT:-20000000}"
work="$(mktemp -d)"
containers=()

clean_up() {
    local container
    for container in "${containers[@]}"; do
        storage rm "$container" >/dev/null 2>&1 || true
    done
    rm -rf "$work"
}
trap clean_up EXIT

# Storage of its own, deleted with the script; chroot needs neither a network nor a namespace of its own.
storage() {
    buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"
}

fail() {
    echo "image: $*" >&2
    exit 1
}

for program in buildah file; do
    command -v "$program" >/dev/null || fail "$program is needed: apt-get install buildah file"
done

# 1. The results of the first stage, by its own commands.
epoch="$(git log -1 --format=%ct)"
if [[ -n "${1:-}" ]]; then
    binary="$1"
else
    echo "image: building a static binary (about 10 minutes with cold caches)"
    binary="$(tests/build-release.sh)"
    if [[ -n "${IMAGE_REPRODUCE:-}" ]]; then
        echo "image: building it again in another folder"
        git ls-files -z | xargs -0 tar --create | tar --extract --one-top-level="$work/again"
        again="$("$work/again/tests/build-release.sh" "$work/again-target")"
        cmp "$binary" "$again" || fail "the same source gave two binaries"
    fi
fi
mkdir -p "$work/target/release" "$work/context"
cp "$binary" "$work/target/release/citrix-allowlist"
cp LICENSE "$work/"
layout="$(sed -n '/^RUN install -D/,/[^\\]$/p' Dockerfile | sed -e 's/^RUN //' -e "s#/rootfs#$work/context/rootfs#g")"
(cd "$work" && SOURCE_DATE_EPOCH="$epoch" bash -euc "$layout")

# 2. The last stage, twice: the same input gives the same image.
sed -n '/^FROM scratch/,$p' Dockerfile >"$work/Dockerfile"
revision="$(git rev-parse HEAD)"
created="$(git log -1 --format=%cI)"
build() {
    storage build --isolation chroot --quiet --timestamp "$epoch" --file "$work/Dockerfile" \
        --build-context "build=$work/context" --build-arg VERSION=0.0.0-test --build-arg REVISION="$revision" \
        --build-arg CREATED="$created" \
        --tag "$1" "$work/context" >"$work/$1.id"
}
build first
build second
digest() {
    storage images --format '{{.Digest}}' "localhost/$1" | head -n 1
}
[[ -n "$(digest first)" && "$(digest first)" == "$(digest second)" ]] || fail "two builds differ: $(digest first) $(digest second)"

# 3. Its configuration.
inspect() {
    storage inspect --type image --format "$1" localhost/first
}
expect() {
    [[ "$2" == "$3" ]] || fail "$1 is \`$2\`, not \`$3\`"
}
expect user "$(inspect '{{.OCIv1.Config.User}}')" 65532:65532
expect entrypoint "$(inspect '{{.OCIv1.Config.Entrypoint}}')" "[/usr/bin/citrix-allowlist]"
expect command "$(inspect '{{.OCIv1.Config.Cmd}}')" "[run]"
label() {
    inspect "{{index .OCIv1.Config.Labels \"org.opencontainers.image.$1\"}}"
}
expect licence "$(label licenses)" Apache-2.0
expect revision "$(label revision)" "$revision"
expect version "$(label version)" 0.0.0-test
expect created "$(label created)" "$created"
expect title "$(label title)" citrix-allowlist-operator
expect source "$(label source)" \
    "https://github.com/$(sed -n 's/^  repository: //p' charts/citrix-allowlist-operator/values.yaml)"
[[ -n "$(label description)" ]] || fail "it does not say what it is for"

# 4. Its content: these files, and no others; only the binary runs.
container="$(storage from --pull-never localhost/first)"
containers+=("$container")
root="$(storage mount "$container")"
expect files "$(cd "$root" && find . \( -type f -o -type l \) | sort | tr '\n' ' ')" \
    "./etc/passwd ./etc/ssl/certs/ca-certificates.crt ./usr/bin/citrix-allowlist ./usr/share/doc/citrix-allowlist-operator/LICENSE "
size="$(find "$root" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')"
((size < limit)) || fail "$size bytes are more than $limit"
file -b "$root/usr/bin/citrix-allowlist" | grep -q -e 'statically linked' -e 'static-pie linked' ||
    fail "the binary is not static: $(file -b "$root/usr/bin/citrix-allowlist")"
! strings -n 8 "$root/usr/bin/citrix-allowlist" | grep -q -F "$PWD/" || fail "the binary holds the path $PWD"
grep -q 'BEGIN CERTIFICATE' "$root/etc/ssl/certs/ca-certificates.crt" || fail "there are no certificate authorities"
[[ -z "$(find "$root" ! -type l -perm /7022)" ]] || fail "others may write: $(find "$root" ! -type l -perm /7022)"
version="$(chroot --userspec=65532:65532 "$root" /usr/bin/citrix-allowlist --version)"
[[ "$version" == "citrix-allowlist "* ]] || fail "--version says: $version"
storage push --quiet localhost/first "oci:$work/pushed" >/dev/null
pulled="$(find "$work/pushed/blobs" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')"

# 5. It works from its root against a real API server, as its user and as one that OpenShift gives it.
CITRIX_ALLOWLIST_IMAGE_ROOT="$root" cargo test --locked --quiet --test chart -- --ignored --exact \
    image::the_images_binary_works_from_its_root

echo "image: ok: $size bytes, of which the binary $(stat -c %s "$root/usr/bin/citrix-allowlist"), $pulled to pull;" \
    "$(digest first), $version"
