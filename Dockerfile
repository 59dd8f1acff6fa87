# The image of citrix-allowlist-operator: one static binary, certificate authorities, a user, and nothing else.
#
#   docker build -t citrix-allowlist-operator .
#   buildah build --timestamp "$(git log -1 --format=%ct)" -t citrix-allowlist-operator .
#
# Each platform is built on a machine of its own kind, and the results get one tag (see .github/workflows/release.yaml): ring has
# C and assembly, and a cross compiler would have to support them too.
# The same commit in the same image of Rust gives the same binary: the build installs nothing beside the image's own certificate
# authorities, C compiler and musl; it leaves no path of the builder; and all times are the commit's (SOURCE_DATE_EPOCH). A
# release resolves the image's digest, builds in it, checks the provenance for it and records it
# (deploy/release/base-image.sh); a tag alone can be moved.

ARG RUST_IMAGE=docker.io/library/rust:1.95.0-alpine

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY simulate simulate
COPY tests/support tests/support
COPY src src
ARG SOURCE_DATE_EPOCH=0
ENV CARGO_INCREMENTAL=0 \
    RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo"
RUN cargo build --release --locked --bin citrix-allowlist
COPY LICENSE ./
# The files of the image, in their final layout.
RUN install -D -m 0755 target/release/citrix-allowlist /rootfs/usr/bin/citrix-allowlist && \
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ca-certificates.crt && \
    install -D -m 0644 LICENSE /rootfs/usr/share/doc/citrix-allowlist-operator/LICENSE && \
    printf 'nonroot:x:65532:65532::/:/sbin/nologin\n' >/rootfs/etc/passwd && \
    find /rootfs -exec touch -h -d "@${SOURCE_DATE_EPOCH}" {} +

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG RUST_IMAGE
LABEL org.opencontainers.image.title="citrix-allowlist-operator" \
      org.opencontainers.image.description="Keeps Kubernetes NetworkPolicies equal to Citrix's Connectivity AllowList" \
      org.opencontainers.image.source="https://github.com/citrix-allowlist/citrix-allowlist-operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      citrix-allowlist.io/built-in="${RUST_IMAGE}"
COPY --from=build /rootfs/ /
# A number, so that runAsNonRoot can be checked.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/bin/citrix-allowlist"]
CMD ["run"]
