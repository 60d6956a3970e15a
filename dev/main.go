// Command dev is the whole system on a laptop: `go run ./dev` serves everything
// from one process with nothing to install, `go run ./dev chat` is a small text
// client for it. `go run ./dev servers` holds up real servers, for tests, and
// `go run ./dev cluster` runs the programs on them as processes.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"

	"switchboard/dev/single"
	"switchboard/dev/terminal"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
)

const manual = `dev runs the whole system in one process: gateway, router, storage worker and
REST, on an embedded Kafka, Redis and SQLite. Nothing needs to be installed, and
everything below -data survives a kill at any moment; with -durable, a power cut
as well.

	go run ./dev                        serve
	go run ./dev chat -user alice       talk, in a second terminal
	go run ./dev chat -user bob -with alice
	go run ./dev cluster                a site on real servers, every program a process
	go run ./dev servers                hold up real servers for tests
	go run ./dev soak                   a cluster with people in it, and everything killed

Without -auth-keys it makes a key of its own and gives a token for any user to
whoever asks: POST /dev/token {"user_id":"…"}. So it listens on loopback only;
with -auth-keys that route does not exist.

For other machines open both: -listen 0.0.0.0:8080 -gateway-listen 0.0.0.0:8081. The
page then works by each IP address of this machine, and by its name with
-origins http://NAME:8080. Tokens stay on this machine.`

const chatManual = `chat is a text client for a running ` + "`go run ./dev`" + `. People go by name; a
line is sent to the current conversation, /help lists the commands.`

func main() { os.Exit(daemon.Main(run)) }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	ctx, cancel := followGoRun(ctx)
	defer cancel()
	if len(args) > 0 {
		switch args[0] {
		case "chat":
			return runChat(ctx, args[1:], stdout)
		case "servers":
			return runServers(ctx, args[1:], stdout)
		case "cluster":
			return runCluster(ctx, args[1:], stdout)
		case "soak":
			return runSoak(ctx, args[1:], stdout)
		}
	}
	return runSingle(ctx, args, stdout)
}

// runSingle serves until the end, after printing where.
func runSingle(ctx context.Context, args []string, stdout io.Writer) error {
	var cfg single.Config
	flags := daemon.NewFlags("dev", manual)
	flags.StringVar(&cfg.Listen, "listen", "127.0.0.1:8080", "`ADDRESS` of REST")
	flags.StringVar(&cfg.GatewayListen, "gateway-listen", "127.0.0.1:8081", "`ADDRESS` of the WebSocket")
	flags.StringVar(&cfg.OpsListen, "ops-listen", "127.0.0.1:8082", "`ADDRESS` of health, metrics and pprof")
	flags.StringVar(&cfg.Data, "data", ".switchboard", "`FOLDER` that holds everything")
	flags.StringVar(&cfg.AuthKeys, "auth-keys", "", "`FILE` with a JWK set; without it, dev makes a key and gives tokens")
	flags.BoolVar(&cfg.Durable, "durable", false, "wait for the disk before each acknowledgement: a power cut loses nothing either")
	flags.DurationVar(&cfg.Heartbeat, "heartbeat", 0, "silence after which a client is pinged; 0 = 30s")
	flags.DurationVar(&cfg.Recheck, "recheck", 0, "how often each client is told to check for itself; 0 = 6h")
	flags.IntVar(&cfg.Members, "members", chat.MembersDefault, "`NUMBER` of members that a group may have")
	origins := flags.List("origins", "`ORIGIN,…` of web pages that may call")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if cfg.Members < 2 || cfg.Members > chat.MembersMax {
		return daemon.Usagef("-members: want 2 to %d", chat.MembersMax)
	}
	cfg.Origins, cfg.Loops = *origins, runtime.GOMAXPROCS(0)
	daemon.RoomForLoops(cfg.Loops)
	cfg.Logger = flags.Logger(os.Stderr)
	system, err := single.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer system.Close()
	urls := system.URLs()
	fmt.Fprintf(stdout, "REST       %s\nWebSocket  %s\nops        %s\ndata       %s\n",
		urls.REST, urls.WebSocket, urls.Ops, cfg.Data)
	if warning := system.Warning(); warning != "" {
		fmt.Fprintf(stdout, "note       %s\n", warning)
	}
	return system.Run(ctx, func() { fmt.Fprintln(stdout, "ready") })
}

// runChat talks until the end of the input.
func runChat(ctx context.Context, args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("dev chat", chatManual)
	user := flags.String("user", "", "`NAME` of the person at this terminal")
	with := flags.String("with", "", "`NAME` of the person to talk to at first")
	rest := flags.String("rest", "http://127.0.0.1:8080", "`URL` of REST")
	authKeys := flags.String("auth-keys", "", "`FILE` with the JWK set of a server that gives no tokens, such as that of dev cluster; it must be able to sign")
	device := flags.String("device", "", "`NAME` of this device; a second one of the same name replaces the first")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *user == "" {
		return daemon.Usagef("who are you? -user NAME")
	}
	cfg := terminal.Config{
		REST: *rest, User: *user, With: *with, Device: *device,
		In: os.Stdin, Out: stdout, Log: flags.Logger(os.Stderr),
	}
	if *authKeys != "" {
		keys, err := auth.Open(*authKeys, "", "")
		if err != nil {
			return daemon.Usagef("-auth-keys: %v", err)
		}
		cfg.Mint = func(u chat.UserID) (string, error) { return keys.Mint(u, single.TokenTTL) }
	}
	return terminal.New(cfg).Run(ctx)
}
