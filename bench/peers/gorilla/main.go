// Command gorilla is an echo server on github.com/gorilla/websocket, as its own
// example shows it: a goroutine, a bufio.Reader and a write buffer a connection.
package main

import (
	"fmt"
	"net/http"
	"os"

	"github.com/gorilla/websocket"
)

func main() {
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // The client has been answered.
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if err := conn.WriteMessage(kind, message); err != nil {
				return
			}
		}
	})
	server := http.Server{Addr: os.Args[1], Handler: handler} //nolint:gosec // It serves a benchmark on a loopback.
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(1)
}
