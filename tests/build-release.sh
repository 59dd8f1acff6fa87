#!/usr/bin/env bash
# Builds the binary of the image without an image of Rust, with the flags of the Dockerfile's first stage; prints its
# path.
#
#   tests/build-release.sh [TARGET-FOLDER]
#
# Needs musl's C compiler for ring's C (Debian: `apt-get install musl-tools`) and Rust's musl target, which rustup adds.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder="${1:-${CARGO_TARGET_DIR:-target}}"
target="$(uname -m)-unknown-linux-musl"
if ! command -v musl-gcc >/dev/null; then
    echo "build-release: musl-gcc is needed: apt-get install musl-tools" >&2
    exit 1
fi
channel="$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)"
if ! grep -q "rust:$channel-alpine" Dockerfile; then
    echo "build-release: the Dockerfile does not build with Rust $channel of rust-toolchain.toml" >&2
    exit 1
fi
flags="$(sed -n 's/^ *RUSTFLAGS="\(.*\)"$/\1/p' Dockerfile)"
flags="${flags/=\/src=/=$PWD=}"
flags="${flags/=\/usr\/local\/cargo=/=${CARGO_HOME:-$HOME/.cargo}=}"
if [[ "$flags" != *"=$PWD="* ]]; then
    echo "build-release: the Dockerfile has no RUSTFLAGS that hide the folder /src: $flags" >&2
    exit 1
fi
{
    rustup target add "$target"
    # Rust links by itself: musl-gcc knows no static-pie.
    env "CC_${target//-/_}=musl-gcc" RUSTFLAGS="$flags" CARGO_INCREMENTAL=0 \
        cargo build --release --locked --bin citrix-allowlist --target "$target" --target-dir "$folder"
} >&2
echo "$folder/$target/release/citrix-allowlist"
