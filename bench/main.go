// Command bench measures the system as its users meet it: connections, memory,
// and the road of a message from socket to socket, every message checked.
//
//	bench conn   idle authenticated connections on gateways: bytes each
//	bench echo   messages that come back: latency, processor time each
//	bench fanout one message to ten thousand: when the last has it
//	bench storm  a gateway is killed: when all are back, and who else noticed
//	bench drain  a gateway is asked to end: the same
//	bench plan   phases from a file: ramp, hold, rate, churn, drop
//	bench road   messages on a fixed schedule through everything: latency, losses
//	bench group  one conversation of ten thousand: look-ups, heads, who is complete
//	bench slow   a thousand readers that do not read: what they cost, and whom
//
// bench compare sets the results of two runs side by side; see package result.
//
// Load goes to what it starts itself, on loopback addresses, or to where -target or the
// flags of road, group and slow say. Latency counts from the time at which a
// message should have been sent, so a stalled system cannot hide behind a
// generator that waited for it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"switchboard/bench/crowd"
	"switchboard/bench/live"
	"switchboard/bench/load"
	"switchboard/internal/daemon"
)

const manual = `bench measures the system as its users meet it.

	bench conn [flags]   memory of idle authenticated connections on gateways
	bench echo [flags]   messages that come back: latency, processor time each
	bench fanout [flags] one message to ten thousand: when the last has it
	bench storm [flags]  a gateway is killed: when all are back, and who else noticed
	bench drain [flags]  a gateway is asked to end: the same
	bench plan [flags]   phases from a file: ramp, hold, rate, churn, drop
	bench road [flags]   latency and completeness of messages, socket to socket
	bench group [flags]  one large conversation: look-ups, heads, who is complete
	bench slow [flags]   readers that do not read: what they cost, and whom
	bench compare BEFORE AFTER   results of two runs, metric by metric

Each command prints its own manual with -help. On a terminal a run shows how it stands,
elsewhere that is a line a second; TERM=dumb asks for lines, NO_COLOR for no colours.`

const roadManual = `bench road sends messages on a fixed schedule, 70 % in direct conversations and
the rest in groups of 8, and checks each one: in history exactly once, on every
member's socket exactly once, in the order of history.

It mints tokens from -auth-keys, which for ` + "`go run ./dev`" + ` is
.switchboard/auth-keys.json. With -cluster it spreads its users over all gateways
and REST servers of ` + "`go run ./dev cluster`" + `, takes the CPU time of every program and
server, and shows hop by hop where the time went. -find looks for the highest rate
at which 99 of 100 copies arrive within 500 ms.

Real servers in Java answer in seconds until they are warm: give them -warmup 90s.
A signal ends the sending; the report is then of what was sent. Exit status 1 when
anything was lost, doubled or out of order; 99 when a threshold was not kept, 4 when
the generator was late, 105 after a signal.`

func main() { os.Exit(daemon.Main(run)) }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 {
		screen := live.Open(stdout, os.Getenv)
		switch args[0] {
		case "road":
			return runRoad(ctx, args[1:], screen)
		case "conn", "echo", "fanout", "storm", "drain", "plan":
			return runCrowd(ctx, args, screen)
		case "worker":
			return load.Work(ctx, os.Stdin, stdout) // Of one of those.
		case "group":
			return runGroup(ctx, args[1:], screen)
		case "slow":
			return runSlow(ctx, args[1:], screen)
		case "compare":
			return runCompare(args[1:], stdout)
		}
	}
	flags := daemon.NewFlags("bench", manual)
	if err := flags.Parse(args); err != nil {
		return err
	}
	return daemon.Usagef("which measurement? conn, echo, fanout, storm, drain, plan, road, group or slow")
}

// runCrowd measures gateways alone. Their load comes from processes of this program.
func runCrowd(ctx context.Context, args []string, screen *live.Screen) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	command := map[string]func(ctx context.Context, args, worker []string, screen *live.Screen) error{
		"conn": crowd.Conn, "echo": crowd.Echo, "fanout": crowd.Fanout, "storm": crowd.Storm, "drain": crowd.Drain,
		"plan": crowd.Plan,
	}[args[0]]
	return command(ctx, args[1:], []string{program, "worker"}, screen)
}
