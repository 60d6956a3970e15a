package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/metrics"
)

const conformanceManual = `gateway conformance echoes text as text and binary as binary on every path, without
a token and without any server, through the same parser and writer as the real
thing. It is what RFC 6455 suites are run against.

A client that does not read is not read from: its messages wait in the kernel.
It ends at SIGTERM.`

// largestConformance is the largest -max-message: what suites go up to, twice.
const largestConformance = 32 << 20

// runConformance is the command `gateway conformance`.
func runConformance(ctx context.Context, args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("gateway conformance", conformanceManual)
	listen := flags.String("listen", "127.0.0.1:9001", "`ADDRESS` to listen on")
	maxMessage := flags.Int("max-message", 64<<10, "close messages of more than `BYTES` with 1009; at most 32 MiB")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *maxMessage < 1 || *maxMessage > largestConformance {
		return daemon.Usagef("-max-message must be from 1 to %d", largestConformance)
	}
	listener, err := edge.Listen(ctx, *listen)
	if err != nil {
		return err
	}
	loops := runtime.GOMAXPROCS(0)
	daemon.RoomForLoops(loops) // as the gateway does
	echo := new(echo)
	echo.server, err = edge.New(edge.Config{
		Listener:   listener,
		Loops:      loops,
		MaxMessage: *maxMessage,
		// An echo must fit when less than half is taken: then it is never refused.
		OutboundBytes:  2*(*maxMessage) + 64<<10,
		PartialBytes:   8 * largestConformance,
		PartialTimeout: 5 * time.Minute, // suites drip bytes on purpose
		Log:            flags.Logger(os.Stderr),
		Metrics:        metrics.New(),
	}, echo)
	if err != nil {
		return err
	}
	echo.frames = make([][]byte, echo.server.Loops())
	fmt.Fprintf(stdout, "ws://%s/\nready\n", echo.server.Addr())
	return echo.server.Run(ctx)
}

// echo is the handler of the conformance command.
type echo struct {
	server *edge.Server
	frames [][]byte // one for each loop
}

// keptFrame is how large a loop's frame may stay.
const keptFrame = 128 << 10

// Handshake accepts everybody, without a subprotocol.
func (e *echo) Handshake(c edge.Conn, _ *edge.Request) { e.server.Accept(c, "") }

// Message writes the message back.
func (e *echo) Message(c edge.Conn, text bool, payload []byte) {
	frame := e.frames[c.Loop][:0]
	if text {
		frame = edge.AppendText(frame, payload)
	} else {
		frame = edge.AppendBinary(frame, payload)
	}
	if !e.server.Write(c, frame) {
		e.server.Close(c, chat.CloseSlowConsumer) // cannot be, see OutboundBytes
	}
	if cap(frame) <= keptFrame {
		e.frames[c.Loop] = frame
	}
}

// Opened, Visit, Drained and Closed have nothing to do: an echo has no state.
func (e *echo) Opened(edge.Conn) {}

// Visit does nothing: nobody is too idle.
func (e *echo) Visit(edge.Conn, time.Duration) {}

// Drained does nothing: no echo was refused.
func (e *echo) Drained(edge.Conn) {}

// Closed does nothing.
func (e *echo) Closed(edge.Conn, chat.CloseCode, bool) {}
