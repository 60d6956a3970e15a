package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"

	"switchboard/dev/servers"
)

// kinds are the programs, each of which has a block of ports of its own: so an
// address depends on the program's number alone, however many others there are.
var kinds = []string{"gateway", "router", "worker"}

// ports are the addresses of the programs, kept in a file for the next life of
// the cluster.
type ports struct{ blocks map[string]*servers.Ports }

// holdPorts takes the blocks of the file, or new ones.
func holdPorts(ctx context.Context, file string, log *slog.Logger) (*ports, error) {
	kept := make(map[string]int)
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the ports: %w", err)
	}
	p := &ports{blocks: make(map[string]*servers.Ports)}
	moved := false
	for _, kind := range kinds {
		block, err := servers.HoldPorts(ctx, kept[kind])
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.blocks[kind] = block
		if block.Block == kept[kind] {
			continue
		}
		if kept[kind] != 0 {
			log.Warn("the ports of before are in use by others; the programs get new ones", "kind", kind)
		}
		kept[kind], moved = block.Block, true
	}
	if moved {
		if err := writeJSON(file, kept); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

func (p *ports) close() error {
	var errs []error
	for _, block := range p.blocks {
		errs = append(errs, block.Close())
	}
	return errors.Join(errs...)
}

// public is the address for clients of the i-th program of a kind.
func (p *ports) public(kind string, i int) string { return p.address(kind, 2*i) }

// ops is its address for operators.
func (p *ports) ops(kind string, i int) string { return p.address(kind, 2*i+1) }

func (p *ports) address(kind string, n int) string {
	return net.JoinHostPort(host, strconv.Itoa(p.blocks[kind].All[n]))
}
