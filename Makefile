# Each target is one command; CI runs `make test`. Nothing is written outside
# bin/, .cache/ and the caches of Go and Maven.
.PHONY: test check build lint fmt race model conformance servers soak

test: # everything, on real servers too, with the seconds of each stage
	go run -C tools ./stages all

check: # the fast half: formatting, build, vet, lint, short tests
	go run -C tools ./stages fast

build: # the programs, into bin/
	go build -o bin/ ./...

lint:
	go tool -modfile=tools/go.mod golangci-lint run

fmt:
	go tool -modfile=tools/go.mod golangci-lint fmt

race:
	go test -race ./...

model: # the road under a scheduler that breaks it, 100,000 schedules
	go test -count=1 -v -run '^TestModel$$' ./storage-worker/fold -model.schedules 100000

conformance: # an echo server for RFC 6455 suites, on 127.0.0.1:9001
	go run ./gateway conformance

servers: # real Kafka, Cassandra, PostgreSQL and Redis for tests, until Ctrl-C
	go run ./dev servers

soak: # people in a cluster, everything in it killed, five seeds; see docs/operations.md
	go run ./dev soak -runs 5
