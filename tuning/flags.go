package main

import (
	"fmt"
	"strconv"
	"strings"

	"switchboard/internal/daemon"
	"switchboard/tuning/change"
	"switchboard/tuning/load"
)

// request is which host, and what it shall carry.
type request struct {
	root string
	wish load.Wish
}

// askHost adds the flags that most commands have.
func askHost(flags *daemon.Flags) *request {
	a := &request{wish: load.Default}
	flags.StringVar(&a.root, "root", "", "`DIR` of a captured tree; empty: this host")
	flags.StringVar((*string)(&a.wish.Role), "role", string(a.wish.Role), "`ROLE` of the host: gateway, bench or balancer")
	flags.Var((*amount)(&a.wish.Connections), "connections", "`NUMBER` of clients' connections on the host; k and M are thousands and millions")
	flags.Int64Var(&a.wish.Processes, "processes", a.wish.Processes, "`NUMBER` of processes that share them")
	flags.Int64Var(&a.wish.Sources, "sources", a.wish.Sources, "`NUMBER` of addresses that bench or a balancer connects from")
	flags.Int64Var(&a.wish.Destinations, "destinations", a.wish.Destinations, "`NUMBER` of addresses and ports that bench or a balancer connects to")
	flags.Float64Var(&a.wish.Slow, "slow", a.wish.Slow, "`SHARE` of clients that do not read what is sent to them, 0 to 1")
	flags.BoolVar(&a.wish.Untracked, "untracked", false, "netfilter does not track the clients' connections (notrack)")
	return a
}

// askChange adds the flags of what changes a host.
func askChange(flags *daemon.Flags) *change.Config {
	cfg := new(change.Config)
	flags.StringVar(&cfg.File, "file", change.File, "`FILE` of sysctl.d")
	flags.StringVar(&cfg.State, "state", change.State, "`DIR` for the record of what was before")
	return cfg
}

// parse reads the flags and refuses a wish that is none.
func parse(flags *daemon.Flags, args []string, a *request) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := a.wish.Check(); err != nil {
		return daemon.Usagef("%v", err)
	}
	return nil
}

// amount is a number that people write with k or M.
type amount int64

func (a *amount) String() string { return strconv.FormatInt(int64(*a), 10) }

func (a *amount) Set(text string) error {
	unit := int64(1)
	for suffix, thousands := range map[string]int64{"k": 1000, "M": 1_000_000} {
		if number, found := strings.CutSuffix(text, suffix); found {
			text, unit = number, thousands
		}
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil || number < 0 || number > 1<<40 {
		return fmt.Errorf("%q is no number of connections", text)
	}
	*a = amount(number * unit)
	return nil
}
