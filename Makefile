# Two commands are the whole set-up: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where rustup puts cargo, which a fresh shell may not know yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

CARGO := $(shell PATH='$(PATH)' command -v cargo 2>/dev/null)
ifeq ($(CARGO),)
$(error cargo is missing: install a Rust toolchain (package rustup, then `rustup default stable`) and run make again)
endif

.PHONY: help setup build check test demo sim mutants soak

help: ## Shows the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: ## Installs what demo and tests need besides Rust; does nothing where nothing is missing
	@tests/setup.sh

demo: setup ## Shows it all on this machine: make demo ARGS="--agents 3 --channels 12"
	cargo run --locked --package streamkeeper -- demo $(ARGS)

build: setup ## Builds the program, ready for use, into target/release
	cargo build --locked --release --package streamkeeper

check: setup ## Format, lints, tidy rules, licences
	@cargo fmt --version >/dev/null && cargo clippy --version >/dev/null || \
		{ echo 'check: run  rustup component add rustfmt clippy  first' >&2; exit 1; }
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --locked -p streamkeeper-tidy

test: check ## Everything: checks, then every level of tests
	tests/levels.sh

sim: ## Simulation: make sim SEEDS=2000, or make sim SEED=7 for one seed and its trace
	SEEDS=$(or $(SEEDS),1000) $(if $(SEED),SEED=$(SEED)) cargo test --locked --profile simulation \
		-p streamkeeper-simulation \
		--test simulation $(if $(SEED),one_seed,every_seed) -- --nocapture

mutants: ## Takes the rules of protocol and placement away one by one, and shows which seed or property notices
	$(if $(SEEDS),SEEDS=$(SEEDS)) cargo test --locked --profile simulation -p streamkeeper-simulation --features mutants \
		--test simulation every_mutant -- --nocapture
	cargo test --locked -p streamkeeper-core --features mutants --lib every_mutant_of_placement -- --nocapture

soak: setup ## Faults with default times, detached, and resumed by the same command: make soak ROUNDS=20
	tests/soak.sh $(or $(ROUNDS),20)
