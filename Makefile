# Each target does its own set-up and prints its steps. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help tools test test-oldest soak simulate mutants fuzz check generate demo bench

# Where tests/build-tools.sh builds to.
TOOLS := $(or $(CITRIX_ALLOWLIST_TOOLS),$(CURDIR)/.build/bin)

# Where cargo builds to: for `soak`, and for the results that the programs of `bench` leave for its report.
BENCH_TARGET := $(or $(CARGO_TARGET_DIR),target)

# A comma within an argument of `call`.
, := ,

# A heading that stands out in a long log.
heading = @printf '\n==> %s\n' '$(1)'

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS=$$'\t' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

tools: ## Build the programs that tests, checks and the demo need (about 15 minutes once, on two cores)
	$(call heading,Building the programs of tests$(,) checks and the demo: into $(TOOLS))
	@tests/build-tools.sh check test demo test-oldest

test: ## Run every test but the long ones, on a real control plane that stops with them
	$(call heading,Programs of the tests: built if missing)
	@tests/build-tools.sh test
	$(call heading,Tests: the tests of cargo test --workspace, several binaries at a time)
	@tests/run-tests.sh

test-oldest: ## Run the tests of CRD, main job, chart and upgrades on the oldest supported Kubernetes
	$(call heading,Programs of these tests: built if missing)
	@tests/build-tools.sh test-oldest
	$(call heading,Tests on the oldest Kubernetes)
	@CITRIX_ALLOWLIST_TEST_KUBERNETES=oldest tests/run-tests.sh crd control_plane main_job chart

soak: ## Run the long tests: SOAK_MINUTES (3, 20 with LONG=1) of seeded disturbances, two minutes behind an erratic CoreDNS; LONG=1 adds attacks at full length
	$(call heading,Programs of the tests: built if missing)
	@tests/build-tools.sh test
	$(call heading,Disturbances: SOAK_MINUTES and SOAK_SEED choose the time and the schedule)
	@SOAK_MINUTES=$(or $(SOAK_MINUTES),$(if $(LONG),20,3)) cargo test --workspace --locked --test faults soak -- --ignored --nocapture
	$(call heading,Two minutes behind an erratic CoreDNS)
	@CITRIX_ALLOWLIST_SOAK=1 cargo test --workspace --locked --test dns_truths coredns -- --nocapture
ifneq ($(LONG),)
	$(call heading,Attacks of tenants on names and DNS$(,) at full length)
	@LONG=1 cargo test --locked --lib names::tests::tenants -- --nocapture
	$(call heading,Every behaviour of three candidates for the Lease: some four million states)
	@cargo test --locked --profile bench --package simulate --test lease -- --ignored --nocapture
	$(call heading,A hostile tenant of each kind for 20 minutes$(,) beside another tenant with guarded times)
	@cargo build --locked --profile bench --bin citrix-allowlist
	@LONG=1 SOAK_OPERATOR="$(abspath $(BENCH_TARGET))/release/citrix-allowlist" \
		cargo test --workspace --locked --test main_job tenants -- --nocapture
	$(call heading,Memory of the whole process at every bound$(,) in a cgroup of the chart's size)
	@SOAK_OPERATOR="$(abspath $(BENCH_TARGET))/release/citrix-allowlist" \
		cargo test --workspace --locked --test memory_limit bounds -- --ignored --nocapture
endif

simulate: ## Replay faults by seeds, faster than time: those that once broke a law, then fresh ones for SIMULATE_MINUTES (5; LONG=1: 60, optimised)
	$(call heading,The operator in a simulated world: built if changed)
	@cargo build --locked --workspace --bin simulate $(if $(LONG),--profile bench)
	$(call heading,Seeds: each is printed$(,) and shrunk if it breaks a law)
	@"$(abspath $(BENCH_TARGET))/$(if $(LONG),release,debug)/simulate" --hours $(if $(LONG),24,8) --minutes $(or $(SIMULATE_MINUTES),$(if $(LONG),60,5))

mutants: ## Put bugs in on purpose, one at a time, and see that the simulation finds each (an hour or two)
	$(call heading,Bugs of simulate/mutants: each is built and simulated for MUTANT_MINUTES (5) at most)
	@simulate/mutants.sh

fuzz: ## Fuzz the readers of outside input: FUZZ_MINUTES (30) for each FUZZ_TARGET (list dns forward manifest endpoints), two at a time; FUZZ_KEEP=1 keeps new inputs
	$(call heading,cargo-fuzz: built if missing)
	@tests/build-tools.sh fuzz
	$(call heading,Fuzzing: FUZZ_MINUTES and FUZZ_TARGET choose the time and the target)
	@tests/fuzz.sh $(FUZZ_TARGET)
ifneq ($(FUZZ_KEEP),)
	$(call heading,The corpora: reduced to as few files as reach the same code)
	@tests/fuzz.sh --keep $(FUZZ_TARGET)
endif

check: ## Check format, lints, generated files, licences and sources of dependencies
	$(call heading,Format: cargo fmt --all --check)
	@cargo fmt --all --check
	@cargo fmt --manifest-path fuzz/Cargo.toml --check
	$(call heading,Lints: cargo clippy --workspace --all-targets --locked -- -D warnings)
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	$(call heading,Documentation of the library: cargo doc without warnings)
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps -p connectivity-allowlist
	$(call heading,Bugs of simulate/mutants: each still applies)
	@for patch in simulate/mutants/*.patch; do git apply --check "$$patch" || exit 1; done
	$(call heading,The workspace of the fuzzers: fuzz/Cargo.lock agrees with it)
	@cargo metadata --manifest-path fuzz/Cargo.toml --locked --format-version 1 >/dev/null
	$(call heading,Generated files: compared with the code)
	@cargo test --locked --workspace --quiet --test reference
	@tests/build-tools.sh helm
	@charts/generate.sh --check
	$(call heading,Dependencies: cargo deny check licenses bans sources)
	@tests/build-tools.sh check
	@PATH="$(TOOLS):$$PATH" cargo deny --locked check licenses bans sources
	$(call heading,Dependencies that nothing uses: cargo machete)
	@PATH="$(TOOLS):$$PATH" cargo machete

generate: ## Write the generated files again
	@UPDATE_DOCS=1 cargo test --locked --workspace --quiet --test reference
	@tests/build-tools.sh helm
	@charts/generate.sh --write

demo: ## Show the operator at work on its own control plane (KEEP=1 leaves it running; KUBECONFIG uses yours)
	$(call heading,Programs of the demo: built if missing)
	@tests/build-tools.sh demo
	$(call heading,The operator and the demo: built if changed)
	@cargo build --locked --workspace --bins
	@"$${CARGO_TARGET_DIR:-target}/debug/demo"

bench: ## Measure, and write docs/benchmarks.md (QUICK=1 in minutes; ONLY=forwarder one part; CANDIDATE=file.yaml compares another operator, into bench-results)
	$(call heading,Programs of the benchmark: built if missing)
	@tests/build-tools.sh demo
	$(call heading,The operator and the measuring programs: optimised$(,) built if changed)
	@cargo build --locked --profile bench --workspace --bins
ifeq ($(CANDIDATE)$(ONLY),)
	$(call heading,Each stage by itself: at 200$(,) 2$(,)000 and 20$(,)000 peers)
	@cargo bench --locked --workspace --bench stations -- $(if $(QUICK),--max-time 0.5) | tee $(BENCH_TARGET)/stations.txt
	$(call heading,Instructions of a quiet reconcile: guarded at 5 % above benches/instructions.json)
	@cargo bench --locked --workspace --bench instructions
endif
ifneq ($(if $(ONLY),$(findstring forwarder,$(ONLY)),$(if $(CANDIDATE),,all)),)
	$(call heading,Memory of 10$(,)000 learned names: counted)
	@cargo bench --locked --workspace --bench learned
endif
ifeq ($(QUICK),)
	$(call heading,The operator as it is shipped: ten minutes if changed)
	@if command -v musl-gcc >/dev/null; then tests/build-release.sh "$(BENCH_TARGET)"; \
		else echo "no musl-gcc (Debian: musl-tools): the build for speed is measured instead" >&2; fi >"$(BENCH_TARGET)/shipped"
	$(call heading,The operator as a whole)
	@$(if $(ONLY),BENCH_ONLY="$(ONLY)") BENCH_SHIPPED="$$(cat "$(BENCH_TARGET)/shipped")" BENCH_OPERATOR="$(BENCH_TARGET)/release/citrix-allowlist" \
		"$(BENCH_TARGET)/release/bench"
else
	$(call heading,The operator as a whole)
	@$(if $(ONLY),BENCH_ONLY="$(ONLY)") BENCH_OPERATOR="$(BENCH_TARGET)/release/citrix-allowlist" "$(BENCH_TARGET)/release/bench"
endif
