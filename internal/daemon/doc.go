// Package daemon is what every program has around its work: flags and their
// environment variables, the manual, exit statuses, signals, logs, the ops
// listener, and the order in which parts start and stop. It knows nothing of
// chat; the programs hand it their parts.
//
// Each program has the same main:
//
//	func main() { os.Exit(daemon.Main(run)) }
//
//	func run(ctx context.Context, args []string, stdout io.Writer) error {
//		flags := daemon.NewFlags("router", manual)
//		opsListen := flags.String("ops-listen", "127.0.0.1:9100", "`ADDRESS` of health, metrics and pprof")
//		if err := flags.Parse(args); err != nil {
//			return err
//		}
//		log := flags.Logger(os.Stderr)
//		ops, err := daemon.NewOps(*opsListen, set, log)
//		…
//		ops.DrainAt(ctx)
//		ops.Expect("kafka", "redis")
//		group := daemon.NewGroup(ctx)
//		group.Go(ops.Run)      // starts first, stops last
//		group.Go(producer.Run)
//		group.Go(sessions.Run) // stops first: it still needs the producer
//		return group.Wait()
//	}
//
// # Ends
//
//	the work ended, or SIGTERM or SIGINT drained it   0
//	something failed                                  1, one line on stderr
//	a second signal                                   1, at once
//	a wrong flag, an unsafe topic                     2, one line on stderr
//	a status that is the answer, see Status           that
//
// # systemd
//
// Under a unit of Type=notify, READY=1 is sent when /readyz first answers 200,
// STOPPING=1 at the first signal, RELOADING=1 and READY=1 around a reload, and
// WATCHDOG=1 twice in each WatchdogSec for as long as /livez answers 200. STATUS=
// is "ready", or what /readyz waits for, whenever that changes.
// Elsewhere all of this is silent.
package daemon
