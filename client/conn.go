package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/coder/websocket"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// Event is one frame from the server: its type, the id of the request that it
// answers, if any, and its data as JSON.
type Event = wire.Envelope

// CloseError says that the server closed the connection, and whether it is of
// use to come back.
type CloseError struct {
	Code   chat.CloseCode
	Reason string
}

// Error returns the code and the reason.
func (e *CloseError) Error() string {
	return fmt.Sprintf("closed by the server: %d %s", e.Code, e.Reason)
}

// Final reports whether connecting again would end the same way: the codes from
// 4500 on.
func (e *CloseError) Final() bool { return e.Code >= 4500 }

// Conn is one WebSocket connection, and nothing more: no retry, no resume. Next
// is for one goroutine, Write for any number.
type Conn struct {
	// Connected is what the server said first.
	Connected wire.Connected

	socket  *websocket.Conn
	heard   atomic.Uint64 // frames that came
	waiting atomic.Bool   // one of them, to be taken: nothing is read meanwhile
}

// Dial opens a connection, authenticates it by header and waits for `connected`.
// A refused upgrade is a [*StatusError], a close a [*CloseError]. It takes no longer
// than [ConnectLimit].
func Dial(ctx context.Context, url, token, device string) (*Conn, error) {
	return dial(ctx, nil, url, token, device)
}

// dial is Dial through an HTTP client; nil = http.DefaultClient.
func dial(ctx context.Context, through *http.Client, url, token, device string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, ConnectLimit) // of the beginning, not of the connection
	defer cancel()
	header := http.Header{"Authorization": {"Bearer " + token}}
	if device != "" {
		header.Set("X-Device-Id", device)
	}
	socket, response, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: through, HTTPHeader: header, Subprotocols: []string{wire.Subprotocol},
	})
	if response != nil && response.Body != nil {
		defer response.Body.Close()
	}
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			return nil, statusError(response)
		}
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	socket.SetReadLimit(chat.ServerFrameBytes)
	c := &Conn{socket: socket}
	first, err := c.Next(ctx)
	if err == nil && first.Type != "connected" {
		err = fmt.Errorf("the first frame is %q, not connected", first.Type)
	}
	if err == nil {
		err = json.Unmarshal(first.Data, &c.Connected)
	}
	if err != nil {
		c.Drop()
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	return c, nil
}

// Next waits for the next frame.
func (c *Conn) Next(ctx context.Context) (Event, error) {
	var e Event
	_, frame, err := c.socket.Read(ctx)
	if err != nil {
		if closed, ok := errors.AsType[websocket.CloseError](err); ok {
			return e, &CloseError{Code: chat.CloseCode(closed.Code), Reason: closed.Reason}
		}
		return e, fmt.Errorf("read: %w", err)
	}
	c.heard.Add(1)
	if err := json.Unmarshal(frame, &e); err != nil {
		return e, fmt.Errorf("read frame %q: %w", frame, err)
	}
	return e, nil
}

// Write sends one frame; data is anything that encoding/json takes.
func (c *Conn) Write(ctx context.Context, kind, id string, data any) error {
	frame, err := encode(kind, id, data)
	if err != nil {
		return err
	}
	if err := c.socket.Write(ctx, websocket.MessageText, frame); err != nil {
		return fmt.Errorf("send %s: %w", kind, err)
	}
	return nil
}

func encode(kind, id string, data any) ([]byte, error) {
	frame, err := json.Marshal(struct {
		Type string `json:"type"`
		ID   string `json:"id,omitempty"`
		Data any    `json:"data"`
	}{kind, id, data})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	return frame, nil
}

// Close says goodbye and waits for the server to agree.
func (c *Conn) Close() error { return c.socket.Close(websocket.StatusNormalClosure, "") }

// Drop cuts the connection without a word, as a lost network does.
func (c *Conn) Drop() { _ = c.socket.CloseNow() }
