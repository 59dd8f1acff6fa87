#!/usr/bin/env bash
# Builds the pinned programs of tests, checks and the demo, each only if it is missing or its pin changed.
#
#   tests/build-tools.sh NAME|GROUP...
#
# Names:  etcd kube-apiserver kube-controller-manager kubectl        (pinned in tests/controlplane)
#         kube-apiserver-oldest kube-controller-manager-oldest       (pinned in tests/controlplane-oldest)
#         helm coredns kwok kubeconform cyclonus actionlint          (pinned in tests/tools)
#         cargo-deny cargo-fuzz cargo-machete                        (pinned here)
#         helm3 glua                                                 (pinned in tests/tools-helm3)
#         jq                                                         (pinned in tests/tools-jq)
#         kustomize                                                  (pinned in tests/tools-kustomize)
#         kube-score                                                 (pinned in tests/tools-lint)
#         prometheus promtool                                        (out of Debian's package `prometheus`)
# Groups: controlplane  the programs of a Kubernetes API server
#         test          what `make test` needs
#         test-oldest   what `make test-oldest` needs
#         demo          what `make demo` needs
#         check         what `make check` needs
#         fuzz          what `make fuzz` needs
#         all           everything
#
# A group skips programs that the machine already has: kubectl, jq, prometheus, promtool, cargo-deny, cargo-fuzz and cargo-machete on PATH, those of
# KUBEBUILDER_ASSETS, and the newest control plane if CITRIX_ALLOWLIST_TEST_KUBECONFIG or KUBECONFIG names a
# cluster. A name is always built.
#
# CITRIX_ALLOWLIST_TOOLS  the folder to build into, instead of .build/bin; several checkouts may share one.
set -euo pipefail

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
destination="${CITRIX_ALLOWLIST_TOOLS:-$repository/.build/bin}"
cargo_deny_version=0.20.2
cargo_fuzz_version=0.13.2
cargo_machete_version=0.9.2

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

# Sets `module`, `package` and `cold`: where a program is pinned, what to build, and how long that takes on two cores
# with an empty cache, in the order of group `all` (the first of each module compiles what the next ones share).
describe() {
    case "$1" in
    etcd) module=controlplane package=go.etcd.io/etcd/server/v3 cold="90 s" ;;
    kube-apiserver) module=controlplane package=k8s.io/kubernetes/cmd/kube-apiserver cold="4 min" ;;
    kube-controller-manager) module=controlplane package=k8s.io/kubernetes/cmd/kube-controller-manager cold="1 min" ;;
    kubectl) module=controlplane package=k8s.io/kubernetes/cmd/kubectl cold="25 s" ;;
    kube-apiserver-oldest)
        module=controlplane-oldest package=k8s.io/kubernetes/cmd/kube-apiserver cold="5 min"
        ;;
    kube-controller-manager-oldest)
        module=controlplane-oldest package=k8s.io/kubernetes/cmd/kube-controller-manager cold="1 min"
        ;;
    helm) module=tools package=helm.sh/helm/v4/cmd/helm cold="2 min" ;;
    coredns) module=tools package=github.com/coredns/coredns cold="2 min" ;;
    kwok) module=tools package=sigs.k8s.io/kwok/cmd/kwok cold="20 s" ;;
    kubeconform) module=tools package=github.com/yannh/kubeconform/cmd/kubeconform cold="3 s" ;;
    cyclonus) module=tools package=github.com/mattfenwick/cyclonus/cmd/cyclonus cold="2 min" ;;
    actionlint) module=tools package=github.com/rhysd/actionlint/cmd/actionlint cold="5 s" ;;
    helm3) module=tools-helm3 package=helm.sh/helm/v3/cmd/helm cold="50 s" ;;
    glua) module=tools-helm3 package=github.com/yuin/gopher-lua/cmd/glua cold="3 s" ;;
    jq) module=tools-jq package=github.com/itchyny/gojq/cmd/gojq cold="10 s" ;;
    kustomize) module=tools-kustomize package=sigs.k8s.io/kustomize/kustomize/v5 cold="45 s" ;;
    kube-score) module=tools-lint package=github.com/zegl/kube-score/cmd/kube-score cold="25 s" ;;
    prometheus | promtool) module=debian package=prometheus cold="5 s" ;;
    cargo-deny) module=cargo package="cargo-deny@$cargo_deny_version" cold="5 min" ;;
    cargo-machete) module=cargo package="cargo-machete@$cargo_machete_version" cold="1 min" ;;
    cargo-fuzz) module=cargo package="cargo-fuzz@$cargo_fuzz_version" cold="1 min" ;;
    *)
        echo "build-tools: unknown program or group: $1" >&2
        usage >&2
        exit 2
        ;;
    esac
}

# The version that a module's go.mod pins for the module path $2.
pinned_version() {
    awk -v path="$2" '{ sub(/^require /, "") } $1 == path && $2 ~ /^v/ { print $2; exit }' "$repository/tests/$1/go.mod"
}

# How the program $1 of `module` is linked. Without a version of their own, kubectl and helm cannot parse what the API
# server says about itself.
linker_flags() {
    local kubernetes helm
    case "$1" in
    kube-apiserver* | kube-controller-manager* | kubectl)
        kubernetes="$(pinned_version "$module" k8s.io/kubernetes)"
        local numbers="${kubernetes#v}"
        local major="${numbers%%.*}" rest="${numbers#*.}"
        local variable=k8s.io/component-base/version
        echo "-s -w -X $variable.gitVersion=$kubernetes -X $variable.gitMajor=$major -X $variable.gitMinor=${rest%%.*}"
        ;;
    helm)
        helm="$(pinned_version tools helm.sh/helm/v4)"
        echo "-s -w -X helm.sh/helm/v4/internal/version.version=$helm"
        ;;
    helm3)
        helm="$(pinned_version tools-helm3 helm.sh/helm/v3)"
        # The Kubernetes that it takes for granted where it renders without a cluster: its client library's.
        kubernetes="$(pinned_version tools-helm3 k8s.io/client-go)"
        kubernetes="${kubernetes#v0.}"
        local chartutil=helm.sh/helm/v3/pkg/chartutil
        echo "-s -w -X helm.sh/helm/v3/internal/version.version=$helm" \
            "-X $chartutil.k8sVersionMajor=1 -X $chartutil.k8sVersionMinor=${kubernetes%%.*}"
        ;;
    *) echo "-s -w" ;;
    esac
}

in_assets() {
    [[ -n "${KUBEBUILDER_ASSETS:-}" && -x "$KUBEBUILDER_ASSETS/$1" ]]
}

# The programs of group `controlplane` that this machine does not have already.
control_plane_programs() {
    if [[ -n "${CITRIX_ALLOWLIST_TEST_KUBECONFIG:-${KUBECONFIG:-}}" ]]; then
        local cluster="${CITRIX_ALLOWLIST_TEST_KUBECONFIG:-$KUBECONFIG}"
        echo "build-tools: no control plane is built: the cluster of $cluster is used" >&2
    else
        local program
        for program in etcd kube-apiserver; do
            in_assets "$program" || echo "$program"
        done
        # envtest ships no controller manager, and tests that need garbage collection say so where it is missing.
        in_assets kube-apiserver || echo kube-controller-manager
    fi
    in_assets kubectl || command -v kubectl >/dev/null || echo kubectl
}

# The same of the oldest Kubernetes, which no cluster and no other folder replaces.
oldest_control_plane_programs() {
    in_assets etcd || echo etcd
    printf '%s\n' kube-apiserver-oldest kube-controller-manager-oldest
    in_assets kubectl || command -v kubectl >/dev/null || echo kubectl
}

# What tests of the chart run.
chart_programs() {
    printf '%s\n' helm helm3 glua kubeconform kube-score kustomize actionlint
    command -v jq >/dev/null || echo jq
}

# Prometheus cannot be built from a Go module of its own, and is taken out of Debian's package, without installing it.
prometheus_programs() {
    local program
    for program in prometheus promtool; do
        if command -v "$program" >/dev/null; then
            continue
        elif command -v apt-get >/dev/null; then
            echo "$program"
        else
            echo "build-tools: $program comes out of a Debian package, and there is no apt-get here: put it on PATH, or" \
                "\`cargo test --test watched\` will fail" >&2
        fi
    done
}

programs_of() {
    case "$1" in
    controlplane) control_plane_programs ;;
    test)
        control_plane_programs
        echo coredns
        echo cyclonus
        chart_programs
        prometheus_programs
        ;;
    test-oldest)
        oldest_control_plane_programs
        chart_programs
        ;;
    demo)
        control_plane_programs
        echo coredns
        ;;
    check)
        [[ "$(cargo-deny --version 2>/dev/null)" == "cargo-deny $cargo_deny_version" ]] || echo cargo-deny
        [[ "$(cargo-machete --version 2>/dev/null)" == "$cargo_machete_version" ]] || echo cargo-machete
        ;;
    fuzz)
        [[ "$(cargo-fuzz --version 2>/dev/null)" == "cargo-fuzz $cargo_fuzz_version" ]] || echo cargo-fuzz
        ;;
    all)
        printf '%s\n' etcd kube-apiserver kube-controller-manager kubectl kube-apiserver-oldest kube-controller-manager-oldest \
            helm coredns kwok kubeconform cyclonus actionlint helm3 glua jq kustomize kube-score prometheus promtool cargo-deny cargo-fuzz cargo-machete
        ;;
    *) echo "$1" ;;
    esac
}

hash_of_input() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

# What a built program depends on: its pins, how it is linked, and the compiler.
fingerprint() {
    if [[ "$module" == cargo || "$module" == debian ]]; then
        echo "$package"
        return
    fi
    {
        cat "$repository/tests/$module/go.mod" "$repository/tests/$module/go.sum"
        echo "$package $flags"
        go env GOVERSION GOOS GOARCH
    } | hash_of_input
}

# Puts `program` of Debian's package into the file $1. Nothing is installed, and no service started.
unpack() {
    mkdir -p "$1.root"
    cd "$1.root"
    local apt=(apt-get --quiet=2 -o APT::Sandbox::User=root)
    if ! "${apt[@]}" download "$package"; then
        if ((EUID != 0)); then
            echo "build-tools: apt-get does not know the package $package: run \`apt-get update\` as root first" >&2
            exit 1
        fi
        "${apt[@]}" update
        "${apt[@]}" download "$package"
    fi
    dpkg-deb --fsys-tarfile ./*.deb | tar --extract --to-stdout "./usr/bin/$program" >"$1"
    chmod 755 "$1"
    rm -r "$1.root"
}

# Becomes the compiler, so that it can be stopped: builds `package` of `module` into the file $1, or, with cargo,
# under the folder $1.root.
compile() {
    if [[ "$module" == cargo ]]; then
        exec cargo install --quiet --locked --root "$1.root" "$package"
    fi
    if [[ "$module" == debian ]]; then
        unpack "$1"
        exit
    fi
    export CGO_ENABLED=0
    exec go build -C "$repository/tests/$module" -mod=readonly -trimpath -buildvcs=false -ldflags="$flags" \
        -o "$1" "$package"
}

build() {
    local program="$1" module package cold flags wanted
    describe "$program"
    flags="$(linker_flags "$program")"
    wanted="$(fingerprint)"
    local stamp="$destination/.stamps/$program"
    if [[ -x "$destination/$program" && -f "$stamp" && "$(<"$stamp")" == "$wanted" ]]; then
        return
    fi

    echo "building $program (about $cold with a cold cache) ..."
    local started=$SECONDS
    scratch="$destination/.stamps/$program.$$"
    compile "$scratch" </dev/null &
    building=$!
    # A line now and then, so that a person sees that it is alive.
    local since=$SECONDS
    while kill -0 "$building" 2>/dev/null; do
        sleep 0.2
        if ((SECONDS - since >= 30)); then
            since=$SECONDS
            echo "  ... still building $program, $((SECONDS - started)) s"
        fi
    done
    if ! wait "$building"; then
        echo "build-tools: $program could not be built (see above)" >&2
        exit 1
    fi
    building=''
    if [[ "$module" == cargo ]]; then
        mv -f "$scratch.root/bin/$program" "$scratch"
        rm -rf "$scratch.root"
    fi
    # Renamed into place: a test that runs the old program keeps it, and no reader sees half a file.
    mv -f "$scratch" "$destination/$program"
    echo "$wanted" >"$stamp"
    echo "  done in $((SECONDS - started)) s: $program"
}

clean_up() {
    [[ -z "$building" ]] || kill "$building" 2>/dev/null || true
    [[ -z "$scratch" ]] || rm -rf "$scratch" "$scratch.root"
}

main() {
    if (($# == 0)) || [[ "$1" == -h || "$1" == --help ]]; then
        usage
        exit 0
    fi
    local programs=() name program
    for name in "$@"; do
        while IFS= read -r program; do
            [[ -z "$program" ]] || programs+=("$program")
        done < <(programs_of "$name")
    done
    if ((${#programs[@]} == 0)); then
        return
    fi
    local module package cold compiler
    for program in "${programs[@]}"; do
        describe "$program"
        case "$module" in
        cargo) compiler=cargo ;;
        debian) compiler="apt-get" ;;
        *) compiler=go ;;
        esac
        if ! command -v "$compiler" >/dev/null; then
            echo "build-tools: \`$compiler\` is needed to build $program, and is not on PATH" >&2
            exit 1
        fi
    done

    building='' scratch=''
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    mkdir -p "$destination/.stamps"
    # Two checkouts that share the folder take turns, where the machine has flock(1).
    exec 9>"$destination/.stamps/lock"
    if command -v flock >/dev/null && ! flock --nonblock 9; then
        echo "build-tools: waiting for another build into $destination ..."
        flock 9
    fi
    for program in "${programs[@]}"; do
        build "$program"
    done
}

main "$@"
