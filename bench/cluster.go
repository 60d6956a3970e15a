package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"switchboard/bench/host"
	"switchboard/bench/scrape"
	"switchboard/internal/daemon"
)

// cluster is a system of many processes: where its parts answer, and who they
// are.
type cluster struct {
	REST     []string          `json:"rest"`
	WS       []string          `json:"ws"`
	Ops      map[string]string `json:"ops"` // by program, such as gateway-1
	AuthKeys string            `json:"auth_keys"`

	folder string // of the pid files; empty: none are known
}

// openCluster reads what `dev cluster` writes to DATA/run/addresses.json. The pid
// files of programs and servers lie beside it.
func openCluster(file string) (*cluster, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's addresses: %w", err)
	}
	c := &cluster{folder: filepath.Dir(file)}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("read the cluster's addresses in %s: %w", file, err)
	}
	if len(c.REST) == 0 || len(c.WS) == 0 {
		return nil, daemon.Usagef("%s names no rest or no ws address", file)
	}
	return c, nil
}

// processes returns programs and servers by their pid files. It is asked before
// and after the load: one that was started again has another pid.
func (c *cluster) processes() []host.Process {
	files, _ := filepath.Glob(filepath.Join(c.folder, "*.pid")) // The pattern is good.
	var all []host.Process
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // It ended since.
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			all = append(all, host.Process{Name: strings.TrimSuffix(filepath.Base(file), ".pid"), PID: pid})
		}
	}
	return all
}

// programs returns the names of the programs that have metrics.
func (c *cluster) programs() []string {
	names := make([]string, 0, len(c.Ops))
	for name := range c.Ops {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// scrape reads the metrics of all programs.
func (c *cluster) scrape(ctx context.Context) (scrape.Samples, error) {
	all := make(scrape.Samples)
	for _, name := range c.programs() {
		if err := all.Read(ctx, c.Ops[name]+"/metrics"); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}
