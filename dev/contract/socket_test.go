package contract

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"switchboard/internal/chat"
)

// socket is a WebSocket, frame by frame.
type socket struct {
	t    *testing.T
	net  net.Conn
	in   *bufio.Reader
	deaf bool // answers no ping

	connected object // the data of the first frame, once it came
}

// frame is what a server sends.
type frame struct {
	t    *testing.T
	Type string `json:"type"`
	ID   string `json:"id"`
	Data object `json:"data"`
}

// dial opens a WebSocket and says nothing yet.
func (s *site) dial(t *testing.T, header http.Header) *socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(header), Protocols: []string{"chat.v1.json"}}
	conn, in, agreed, err := dialer.Dial(ctx, s.WS[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	if agreed.Protocol != "chat.v1.json" || len(agreed.Extensions) > 0 {
		t.Errorf("agreed upon %q and extensions %v", agreed.Protocol, agreed.Extensions)
	}
	if in == nil {
		in = bufio.NewReader(conn)
	}
	return &socket{t: t, net: conn, in: in}
}

// send writes one text frame as it is.
func (s *socket) send(text string) {
	s.t.Helper()
	s.put(ws.NewTextFrame([]byte(text)))
}

// put writes any frame, masked.
func (s *socket) put(f ws.Frame) {
	s.t.Helper()
	if err := s.net.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	if err := ws.WriteFrame(s.net, ws.MaskFrame(f)); err != nil {
		s.t.Fatal(err)
	}
}

// write sends an event; data may be nil.
func (s *socket) write(kind, id string, data object) {
	s.t.Helper()
	encoded, err := json.Marshal(struct {
		Type string `json:"type"`
		ID   string `json:"id,omitempty"`
		Data object `json:"data,omitempty"`
	}{kind, id, data})
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(string(encoded))
}

// patient waits for d at most in what is read from now on.
func (s *socket) patient(d time.Duration) {
	s.t.Helper()
	if err := s.net.SetReadDeadline(time.Now().Add(d)); err != nil {
		s.t.Fatal(err)
	}
}

// any waits for the next frame of any kind.
func (s *socket) any() ws.Frame {
	s.t.Helper()
	s.patient(patience)
	return s.take()
}

// take reads a frame.
func (s *socket) take() ws.Frame {
	s.t.Helper()
	header, err := ws.ReadHeader(s.in)
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	if header.Length > chat.ServerFrameBytes {
		s.t.Fatalf("got a frame of %d bytes", header.Length)
	}
	f := ws.Frame{Header: header, Payload: make([]byte, header.Length)}
	if _, err := io.ReadFull(s.in, f.Payload); err != nil {
		s.t.Fatalf("read: %v", err)
	}
	return f
}

// read waits for a frame of text or the one that closes.
func (s *socket) read() ws.Frame {
	s.t.Helper()
	s.patient(patience) // Pings make it no longer.
	for {
		f := s.take()
		switch f.Header.OpCode {
		case ws.OpPing:
			if !s.deaf {
				s.put(ws.NewPongFrame(f.Payload))
			}
		case ws.OpText, ws.OpClose:
			return f
		default:
			s.t.Fatalf("got a frame of opcode %d", f.Header.OpCode)
		}
	}
}

// next waits for the next frame, whatever it is.
func (s *socket) next() frame {
	s.t.Helper()
	f := s.read()
	if f.Header.OpCode == ws.OpClose {
		s.t.Fatalf("closed with %q", f.Payload)
	}
	return s.decode(f.Payload)
}

func (s *socket) decode(text []byte) frame {
	s.t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	f := frame{t: s.t}
	if err := decoder.Decode(&f); err != nil {
		s.t.Fatalf("%q is no frame: %v", text, err)
	}
	if err := described(s.t).ServerFrame(text); err != nil {
		s.t.Errorf("not as described: %v\n%s", err, text)
	}
	return f
}

// await waits for a frame of one of some types and passes others over.
func (s *socket) await(kinds ...string) frame {
	s.t.Helper()
	for {
		if f := s.next(); slices.Contains(kinds, f.Type) {
			return f
		}
	}
}

// within waits for a frame of a type as long as there is none for d at most.
func (s *socket) within(d time.Duration, kind string) (frame, bool) {
	s.t.Helper()
	for {
		s.patient(d)
		head, err := s.in.Peek(1)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return frame{}, false
		case err == nil && ws.OpCode(head[0]&0xf) == ws.OpPing:
			s.put(ws.NewPongFrame(s.any().Payload))
			continue
		}
		if f := s.next(); f.Type == kind {
			return f, true
		}
	}
}

// durable waits for the next message or change.
func (s *socket) durable() frame {
	s.t.Helper()
	return s.await("new_message", "conversation_updated")
}

// reply waits for the answer to a request.
func (s *socket) reply(id string) frame {
	s.t.Helper()
	for {
		if f := s.next(); f.ID == id {
			return f
		}
	}
}

// closes waits for the end, of this code and for this reason.
func (s *socket) closes(code uint16, reason string) {
	s.t.Helper()
	for {
		f := s.read()
		if f.Header.OpCode != ws.OpClose {
			continue
		}
		if len(f.Payload) < 2 || binary.BigEndian.Uint16(f.Payload) != code || string(f.Payload[2:]) != reason {
			s.t.Errorf("closed with %q, want %d %s", f.Payload, code, reason)
		}
		return
	}
}

// alive reports that the connection still serves, and that nothing which was sent
// before is left unanswered.
func (s *socket) alive() {
	s.t.Helper()
	s.write("heartbeat", "alive", nil)
	compare(s.t, "the answer", s.reply("alive").Type, "heartbeat_ack")
}

// is compares a frame with what it must be, to the last field.
func (f frame) is(kind, id string, data shape) {
	f.t.Helper()
	compare(f.t, "type", f.Type, kind)
	compare(f.t, "id of "+f.Type, f.ID, id)
	compare(f.t, f.Type, any(f.Data), data)
}

// seq returns where an event stands.
func (f frame) seq() int { return number(f.t, f.Data["seq"]) }

func number(t *testing.T, v any) int {
	t.Helper()
	n, ok := v.(float64)
	if !ok {
		t.Fatalf("%#v is no number", v)
	}
	return int(n)
}
