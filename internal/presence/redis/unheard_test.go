package redis_test

import (
	"bytes"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/presence/redis"
)

// proxy stands before a server that calls itself a cluster of one, and gives itself
// out as that one.
type proxy struct {
	net.Listener
	behind string
	drop   atomic.Bool // the next answer, and the connection with it
	work   sync.WaitGroup
}

func startProxy(t *testing.T, behind string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: listener, behind: behind}
	p.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.pass(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); p.work.Wait() })
	return p
}

func (p *proxy) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.behind)
	if err != nil {
		return
	}
	p.work.Go(func() {
		defer server.Close()
		copyTo(server, client, func(b []byte) ([]byte, bool) { return b, true })
	})
	_, theirs, _ := net.SplitHostPort(p.behind)
	ours := strconv.Itoa(p.Addr().(*net.TCPAddr).Port)
	copyTo(client, server, func(b []byte) ([]byte, bool) {
		return bytes.ReplaceAll(b, []byte(":"+theirs+"\r\n"), []byte(":"+ours+"\r\n")), !p.drop.CompareAndSwap(true, false)
	})
}

func copyTo(to, from net.Conn, change func([]byte) ([]byte, bool)) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		b, ok := change(buffer[:n])
		if !ok {
			return
		}
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}

// The client of a cluster repeats what had no answer by itself, and what was carried
// out the first time it finds done: whether a session had been lost is not known then.
func TestAnAnswerThatAClusterLostIsNotTakenForOne(t *testing.T) {
	server, _ := start(t)
	p := startProxy(t, server.Addr())
	d, err := redis.Open(redis.Config{Addrs: []string{p.Addr().String(), p.Addr().String()}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	change := presence.Change{User: chat.UserID{1}, Route: presence.Route{Slot: "gw-1", Boot: 1, Session: 1}}
	apply := func() ([]presence.Applied, error) { return d.Apply(t.Context(), []presence.Change{change}) }
	if applied, err := apply(); err != nil || !applied[0].Fresh {
		t.Errorf("the first time: got %+v, %v, want it fresh", applied, err)
	}
	if applied, err := apply(); err != nil || applied[0].Fresh {
		t.Errorf("the second time: got %+v, %v, want it there", applied, err)
	}
	server.Flush()
	p.drop.Store(true)
	if applied, err := apply(); err == nil && !applied[0].Fresh {
		t.Error("a session that had been lost counts as one that was there")
	}
	if p.drop.Load() {
		t.Error("no answer was lost")
	}
	if applied, err := apply(); err != nil || applied[0].Fresh {
		t.Errorf("the next time: got %+v, %v, want it there", applied, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
