# The commands of this project. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# No `cargo build -p CRATE` here: cargo would choose the features of arrow, tokio and so on for that
# crate alone, and compile them, and DataFusion above them, once more.

# RocksDB built ahead (scripts/build-rocksdb) is found through scripts/env.
ENV := . scripts/env
# Where the tests find the scripts that start real servers, and ksqlDB's cases.
export KAPPA_TEST_SERVERS := $(CURDIR)/tests/servers
export KSQL_CASES ?= $(abspath ../shared/ksql-cases)

# $(call step,TEXT): says what begins now.
step = printf '\n== %s\n' "$(1)" >&2; step_start=$$SECONDS
# $(done): says how long it took.
done = printf '== done in %d s\n' $$((SECONDS - step_start)) >&2

.PHONY: help demo snowflake-demo test lint bench bench-flink ksql-score kafka build setup-build setup-test servers

help: ## lists the targets
	@echo 'make demo            the weblogs pipeline on embedded topics, from nothing (first time: some 18 minutes)'
	echo 'make snowflake-demo  the same lines from Kafka into Snowflake, S3 and Google Cloud Storage at once'
	echo 'make test            all tests, real servers included (Kafka, MinIO, PostgreSQL, Azurite, …)'
	echo 'make lint            formatting, clippy and rustdoc, warnings being errors'
	echo 'make bench           the benchmarks, in release mode; BENCH="…" passes arguments on'
	echo 'make bench-flink     beside Flink SQL on Nexmark, both reading one Kafka; BENCH="q0 q12" chooses'
	echo "make ksql-score      ksqlDB's own cases in release mode; KSQL_CASES=DIR judges another folder"
	echo 'make kafka           a Kafka broker on loopback to play with, until Ctrl-C'
	echo 'make build           everything that the demo and the tests run'

# Programs in release mode stand on a RocksDB that is optimised fully.
bench bench-flink ksql-score: export KAPPA_BUILD := release

setup-build:
	@scripts/setup build
	$(call step,RocksDB)
	scripts/build-rocksdb >/dev/null
	$(done)

setup-test: setup-build
	@scripts/setup test

servers: setup-test
	@$(call step,the servers of the tests)
	for server in kafka minio moto schema-registry postgres azurite snowflake snowpipe-sdk readers; do
		tests/servers/$$server fetch && continue
		[[ $${KAPPA_REQUIRE_SERVERS-} != 1 ]] || exit 1
		echo "== no $$server: the tests that need it will say so and be left out" >&2
	done
	$(done)

build: setup-build ## builds the workspace and its tests
	@$(ENV)
	$(call step,building the workspace (the first time: some 16 minutes on two cores))
	cargo build --workspace --all-targets --locked
	$(done)

demo: setup-build ## runs examples/weblogs
	@$(ENV)
	$(call step,building kappa (the first time: some 14 minutes on two cores))
	cargo build --bin kappa --bin weblogs --locked
	$(done)
	$(call step,the demo: examples/weblogs)
	target=$${CARGO_TARGET_DIR:-target}
	rm -rf "$$target/demo"
	"$$target/debug/weblogs" "$$target/demo"
	$(done)

snowflake-demo: setup-test ## runs examples/snowflake_weblogs
	@$(ENV)
	$(call step,the servers of the demo (MinIO is built the first time: some 4 minutes))
	if [[ -z $${KAPPA_BOOTSTRAP_SERVERS-} ]]; then
		tests/servers/kafka fetch || echo '== no Kafka: topics will be embedded' >&2
	fi
	[[ -n $${SNOWFLAKE_ACCOUNT-}$${SNOWFLAKE_URL-} ]] || tests/servers/snowflake fetch
	[[ -n $${S3_PATH-} ]] || tests/servers/minio fetch
	$(done)
	$(call step,building the demo (the first time: some 15 minutes on two cores))
	cargo build --bin snowflake-weblogs --locked
	$(done)
	$(call step,the demo: examples/snowflake_weblogs (with 30 seconds between commits: a minute and a half))
	# Credentials for a cloud are not meant for the server that stands in for it.
	[[ -n $${S3_PATH-} ]] || unset $${!AWS_*}
	[[ -n $${GCS_PATH-} ]] || unset $${!GOOGLE_*}
	export KAPPA_SERVERS_STARTED=$$(mktemp)
	trap 'tests/servers/sweep "$$KAPPA_SERVERS_STARTED"; rm -f "$$KAPPA_SERVERS_STARTED"' EXIT
	"$${CARGO_TARGET_DIR:-target}/debug/snowflake-weblogs"
	$(done)

test: servers ## runs all tests
	@$(ENV)
	$(call step,building and running the tests)
	export KAPPA_SERVERS_STARTED=$$(mktemp)
	trap 'tests/servers/sweep "$$KAPPA_SERVERS_STARTED"; rm -f "$$KAPPA_SERVERS_STARTED"' EXIT
	cargo test --workspace --locked
	$(done)

lint: setup-build ## checks formatting, clippy, rustdoc
	@$(ENV)
	$(call step,cargo fmt --check)
	cargo fmt --all --check
	$(done)
	$(call step,cargo clippy)
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(done)
	$(call step,cargo doc)
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --workspace --locked
	$(done)

bench: setup-build ## runs the benchmarks
	@scripts/setup test
	$(ENV)
	$(call step,building and running the benchmarks in release mode (the first time: some 20 minutes on two cores))
	cargo build --release --locked --bin kappa --bin kappa-bench
	"$${CARGO_TARGET_DIR:-target}/release/kappa-bench" $(BENCH)
	$(done)

bench-flink: setup-build ## compares with Flink SQL on Nexmark
	@scripts/setup bench
	$(ENV)
	$(call step,building kappa-bench in release mode (the first time: some 20 minutes on two cores))
	cargo build --release --locked --bin kappa-bench
	$(done)
	$(call step,Flink SQL and Kappa on Nexmark (half an hour on two cores; BENCH and KAPPA_BENCH_EVENTS make it less))
	tests/bench/flink/run $(BENCH)
	$(done)

ksql-score: setup-build ## runs ksqlDB's cases
	@$(ENV)
	$(call step,ksqlDB's cases of $(KSQL_CASES) in release mode (building the first time: some 20 minutes on two cores))
	cargo run --release --locked --bin ksql-score
	$(done)

kafka: ## runs a broker in the foreground
	@scripts/setup test
	tests/servers/kafka run
