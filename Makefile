# Sentinel. `make help` lists the targets. Building needs Go and make only: everything that ships is CGO_ENABLED=0.

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS     := -s -w -X main.version=$(VERSION)
AGENTS      := $(notdir $(patsubst %/main.go,%,$(wildcard agents/*/main.go)))
BINARIES    := sentinel sentinel-stack sentinel-conformance $(addprefix sentinel-,$(AGENTS))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 30s
SOAK        ?= 15m
# The race detector needs cgo, so a C compiler; without one `make test` says so and goes on.
CC_FOUND    := $(shell command -v $${CC:-gcc} 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help build up test unit race lint fuzz bench bench-stack bench-waf probe soak reliability packages docs cross clean deps $(BINARIES)

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BINARIES) ## Build every program into bin/

sentinel: ; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sentinel ./proxy
sentinel-conformance: ; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sentinel-conformance ./protocol/conformance/cmd
sentinel-stack: ; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/sentinel-stack ./stack
$(addprefix sentinel-,$(AGENTS)): sentinel-%: ; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/$@ ./agents/$*

up: build ## Run the main job on the embedded default: a status page on 127.0.0.1:8080
	bin/sentinel-stack up

test: deps lint unit race cross ## Everything CI runs: lint, unit, script, end-to-end and example tests, race detector

deps:
	@.ci/deps

unit: ## All tests without the race detector (allocation counts need that)
	$(GO) test -timeout 20m ./...

race: ## All tests of concurrent code under the race detector
ifeq ($(CC_FOUND),)
	@echo "SKIP race: no C compiler found (CC); the race detector needs one"
	@[ "$(CI)" != true ]
else
	CGO_ENABLED=1 $(GO) test -race -short -timeout 20m ./agents/... ./protocol/... ./proxy/... ./stack/... ./tui/...
endif

lint: ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not gofmt'ed:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

cross: ## Check that everything that ships builds for linux/amd64 and linux/arm64 without cgo
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./proxy
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build ./...
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $(GO) build ./...

fuzz: ## Fuzz every parser of untrusted bytes for FUZZTIME each (default 30s)
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ {f[n++]=$$1} /^ok/ {for (i=0;i<n;i++) print $$2, f[i]; n=0}' | \
	while read -r pkg name; do echo "== $$pkg $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$pkg" || exit 1; done

bench: build ## Side by side with nginx and HAProxy: CPU per request, plain, TLS and HTTP/2, handshakes, GiB, memory, agents (BENCH="-what tls")
	@.ci/deps haproxy
	PATH="$$PATH:/usr/sbin:/sbin" $(GO) run ./proxy/bench -sentinel bin/sentinel $(BENCH)

bench-waf: build ## The firewall's engine, its fast path and nginx with libmodsecurity on the same rules, side by side; then the fast path's verdicts on 100,000 requests. Fails when attacks pass or verdicts differ
	@.ci/deps
	@test -e /usr/lib/nginx/modules/ngx_http_modsecurity_module.so || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libnginx-mod-http-modsecurity >/dev/null
	PATH="$$PATH:/usr/sbin:/sbin" $(GO) run ./agents/waf/bench -bin bin $(BENCH)
	SENTINEL_FASTPATH=100000 $(GO) test -count=1 -v -run 'FastPathIsSound' -timeout 60m ./agents/waf/ruleset

probe: build ## Every attack and innocent twin against Sentinel, nginx and HAProxy: what each did, side by side
	@.ci/deps haproxy
	PATH="$$PATH:/usr/sbin:/sbin" PROBE="$(CURDIR)/bin/sentinel" $(GO) test -count=1 -v -run TestProbe -timeout 2m ./proxy/attack/probe

soak: build ## Mixed traffic with faults for SOAK (default 15m): fails on growth, or on failed requests outside the faults
	$(GO) run ./proxy/bench/soak -bin bin -for $(SOAK) $(if $(filter 15m,$(SOAK)),-min-requests 2000000)

bench-stack: build ## Side by side with runit, s6, supervisord and process-compose: restarts, outages, crash loops, floods, orphans, idling (BENCH="-scenarios idle -only runit")
	@.ci/deps runsvdir s6-svscan supervisord
	@stack/bench/process-compose.sh $(CURDIR)/bin || echo "process-compose cannot be had and is left out"
	PATH="$(CURDIR)/bin:$$PATH:/usr/sbin:/sbin" $(GO) run ./stack/bench -sentinel bin $(BENCH)

reliability: ## kill -9 proxy and agents 200 times under 500 requests/s, upgrade the supervisor 50 times, restart 10,000 times, idle with 30 services; crash loops, floods, storms of edits, hogs; prints what failed and how long it took; bench-stack as well
	@.ci/deps
	IDLE=60s $(GO) test -count=1 -v -run 'IdleStack' -timeout 5m ./stack/e2e
	CRASHLOOP=60s FLOOD=10s STORM=1000 E2E_TIMING=1 $(GO) test -count=1 -v -run 'TwentyCrashLoops|LogFlood|ReloadStorm|StopDeadline|ProcessorQuota' -timeout 10m ./stack/e2e
	E2E_KILLS=200 E2E_TIMING=1 $(GO) test -count=1 -v -run 'Kill|SupervisorDeath|UpgradeUnderLoad' -timeout 30m ./stack/e2e
	RESTARTS=10000 $(GO) test -count=1 -v -run 'RestartsLeakNothing' -timeout 20m ./stack/supervise
	$(MAKE) bench-stack
	HOGS=7 $(GO) test -count=1 -v -run 'LatencyBesideHogs' -timeout 10m ./stack/e2e

packages: ## Build deb and rpm packages and try them in a clean chroot
	VERSION=$(VERSION) packaging/scripts/build.sh
	packaging/scripts/test-install.sh

docs: sentinel ## Regenerate the reference page of the configuration
	bin/sentinel schema --format markdown > docs/reference/config.md

clean: ## Remove what the build made
	rm -rf bin dist
