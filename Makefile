# Two commands are the whole set-up: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO := $(shell command -v cargo 2>/dev/null)
ifeq ($(CARGO),)
$(error cargo is missing: install a Rust toolchain (package rustup, then `rustup default stable`) and run make again)
endif

.PHONY: help check test levels

help: ## Shows the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

check: ## Format, lints, tidy rules, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --locked -p streamkeeper-tests --test tidy

test: check ## Everything: checks, then every level of tests
	tests/levels.sh
