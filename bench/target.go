package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/scrape"
	"switchboard/client"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
)

// target is the system under test: where it answers, and what of it can be looked
// at.
type target struct {
	rest     []string
	gateways []string // empty: REST says where
	keys     *auth.Keys
	cluster  *cluster // nil: one program, or many that are not known
	pids     []host.Process
}

// targetFlags are the flags that say whom the load is for.
type targetFlags struct {
	rest, addresses, keyFile *string
	pids                     *[]string
}

func newTargetFlags(flags *daemon.Flags) targetFlags {
	return targetFlags{
		rest: flags.String("rest", "http://127.0.0.1:8080", "REST address of the system under test"),
		addresses: flags.String("cluster", "", "`FILE` with the addresses of many programs, DATA/run/addresses.json of\n"+
			"`dev cluster`; replaces -rest and -pids"),
		keyFile: flags.String("auth-keys", "", "key file from which tokens are minted; without it, the cluster's or .switchboard/auth-keys.json"),
		pids:    flags.List("pids", "processes whose CPU time is counted, as name=pid"),
	}
}

// open finds the target.
func (f targetFlags) open() (t target, err error) {
	t.rest = []string{*f.rest}
	if t.pids, err = parseProcesses(*f.pids); err != nil {
		return t, err
	}
	keyFile := ".switchboard/auth-keys.json"
	if *f.addresses != "" {
		if t.cluster, err = openCluster(*f.addresses); err != nil {
			return t, err
		}
		t.rest, t.gateways, keyFile = t.cluster.REST, t.cluster.WS, t.cluster.AuthKeys
	}
	if *f.keyFile != "" {
		keyFile = *f.keyFile
	}
	if t.keys, err = auth.Open(keyFile, "", ""); err != nil {
		return t, fmt.Errorf("keys of the target: %w", err)
	}
	return t, nil
}

// restOf returns the calls of a user, through the i-th REST server.
func (t *target) restOf(i int, user chat.UserID) *client.REST {
	return &client.REST{Base: t.rest[i%len(t.rest)], Token: func(context.Context) (string, error) {
		return t.keys.Mint(user, time.Hour)
	}}
}

// sockets returns where WebSockets are opened; a user who may ask is needed where
// nobody said.
func (t *target) sockets(ctx context.Context, user chat.UserID) ([]string, error) {
	if len(t.gateways) > 0 {
		return t.gateways, nil
	}
	url, err := t.restOf(0, user).Gateway(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the gateway: %w", err)
	}
	return []string{url}, nil
}

// processes returns what the target runs in, as far as that is known.
func (t *target) processes() []host.Process {
	if t.cluster != nil {
		return t.cluster.processes()
	}
	return t.pids
}

// sight is what can be seen of the system from outside at one time.
type sight struct {
	cpu     map[string]time.Duration
	self    time.Duration
	late    int64          // sends so far; whoever sends fills it in
	samples scrape.Samples // empty without a cluster
}

// look takes CPU times and, of a cluster, metrics.
func (t *target) look(ctx context.Context) (s sight, err error) {
	if t.cluster != nil {
		if s.samples, err = t.cluster.scrape(ctx); err != nil {
			return s, err
		}
	}
	s.cpu, s.self = host.CPUTimes(t.processes()), host.SelfCPU()
	return s, nil
}

func parseProcesses(list []string) ([]host.Process, error) {
	var out []host.Process
	for _, item := range list {
		name, number, ok := strings.Cut(item, "=")
		pid, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, daemon.Usagef("-pids: %q is not name=pid", item)
		}
		out = append(out, host.Process{Name: name, PID: pid})
	}
	return out, nil
}

// perMessage returns microseconds of CPU time per message.
func perMessage(before, after map[string]time.Duration, messages int) map[string]float64 {
	cost := make(map[string]float64, len(after))
	for name, t := range after {
		cost[name] = float64((t - before[name]).Microseconds()) / float64(messages)
	}
	return cost
}
