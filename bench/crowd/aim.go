package crowd

import (
	"net/netip"
	"strconv"
	"strings"

	"switchboard/bench/host"
	"switchboard/bench/load"
	"switchboard/internal/daemon"
)

// elsewhere is the manual's part of commands that may measure what is elsewhere.
const elsewhere = `

-agents are commands that start a worker on another host, such as "ssh load-1 bench
worker": the load is then theirs alone. They need no key file and no clock of their
own.`

// aim is whom and from where a load is for.
type aim struct {
	targets, pids, addresses, agents *[]string
	path, keys, greeting, text       *string
}

// newAim adds the flags.
func (c *conn) newAim(flags *daemon.Flags) aim {
	return aim{
		targets:   flags.List("target", "`HOST:PORT,…` of servers that somebody else started, by IP address"),
		path:      flags.String("path", c.path, "path of the WebSocket there"),
		keys:      flags.String("auth-keys", "", "`FILE` with the keys that they trust, from which tokens are minted; empty: they want none"),
		greeting:  flags.String("greeting", "", "`TEXT` that a target without tokens hears first; its first answer opens the connection"),
		text:      flags.String("text", "", "`TEXT` of an echo, with # for its number, which the answer must begin with, too; empty: number and padding"),
		pids:      flags.List("pids", "`NUMBER,…` of their processes on this host"),
		addresses: flags.List("source", "`ADDRESS,…` to connect from; empty: of 127.0.0.0/8, or what the host chooses"),
		agents:    flags.List("agents", "`COMMAND,…` that start a worker elsewhere each"),
	}
}

// take reads the flags.
func (a aim) take(c *conn) error {
	c.targets, c.path, c.keys, c.addresses, c.agents = *a.targets, *a.path, *a.keys, *a.addresses, *a.agents
	c.greeting, c.text = *a.greeting, *a.text
	own, local := load.Heartbeat, true
	if len(c.targets) > 0 {
		c.gateways = len(c.targets)
		if c.keys == "" {
			own = load.Text
		}
	} else if c.keys != "" || len(c.agents) > 0 || len(*a.pids) > 0 {
		return daemon.Usagef("-auth-keys, -agents and -pids are for a -target")
	}
	if c.frame == load.Heartbeat {
		c.frame = own // Unless another one is asked for.
	}
	if c.frame != own && c.frame != load.Ping || c.echoes < 0 || c.bytes < 0 || c.bytes > 60000 {
		return daemon.Usagef("messages are %s or ping, their rate is not negative, -bytes 0 to 60000", own)
	}
	if c.greeting+c.text != "" && own != load.Text {
		return daemon.Usagef("-greeting and -text are for a -target without -auth-keys")
	}
	if before, after, ok := strings.Cut(c.text, "#"); c.text != "" && (!ok || len(before)+len(after) > 60000 || strings.IndexAny(after, "#0123456789") == 0) {
		return daemon.Usagef("-text %q: want one # for the number, and no digit behind it", c.text)
	}
	for _, target := range c.targets {
		at, err := netip.ParseAddrPort(target)
		if err != nil || !at.Addr().Is4() {
			return daemon.Usagef("-target %q: want the IP address of version 4, and a port", target)
		}
		local = local && at.Addr().IsLoopback()
	}
	if len(c.addresses) == 0 && (!local || len(c.agents) > 0) {
		c.addresses = []string{netip.IPv4Unspecified().String()}
	}
	for _, number := range *a.pids {
		pid, err := strconv.Atoi(number)
		if err != nil {
			return daemon.Usagef("-pids %q: want numbers of processes", number)
		}
		c.processes = append(c.processes, host.Process{Name: number, PID: pid})
	}
	return nil
}
