// Command gws is an echo server on github.com/lxzan/gws, as its own example shows it
// but for compression: a goroutine and a bufio.Reader a connection.
package main

import (
	"fmt"
	"net/http"
	"os"

	"github.com/lxzan/gws"
)

// echo writes every message back.
type echo struct{ gws.BuiltinEventHandler }

// OnPing answers.
func (echo) OnPing(socket *gws.Conn, payload []byte) { _ = socket.WritePong(payload) } // Who is gone needs none.

// OnMessage writes it back.
func (echo) OnMessage(socket *gws.Conn, message *gws.Message) {
	defer message.Close()
	_ = socket.WriteMessage(message.Opcode, message.Bytes()) // The library closes who cannot be written to.
}

func main() {
	upgrader := gws.NewUpgrader(echo{}, &gws.ServerOption{CheckUtf8Enabled: true})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := upgrader.Upgrade(w, r)
		if err != nil {
			return // The client has been answered.
		}
		go socket.ReadLoop() // So that the memory of the request is free again, says the library.
	})
	server := http.Server{Addr: os.Args[1], Handler: handler} //nolint:gosec // It serves a benchmark on a loopback.
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(1)
}
