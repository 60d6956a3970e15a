package conns

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen returns the address of a broker that treats each connection so.
func listen(t *testing.T, treat func(net.Conn)) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			treat(c)
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return listener.Addr().String()
}

func TestABrokerThatHangsUpMayExpectTLS(t *testing.T) {
	addr := listen(t, func(c net.Conn) { _ = c.Close() })
	set := New(nil)
	defer set.Close()
	c, err := set.Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Read(make([]byte, 1))
	if !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "does it expect TLS?") {
		t.Errorf("got %v, want the end, the broker %s and what it may expect", err, addr)
	}
}

func TestABrokerWithoutTLSIsNamed(t *testing.T) {
	addr := listen(t, func(c net.Conn) { _ = c.Close() })
	set := New(&tls.Config{MinVersion: tls.VersionTLS12})
	defer set.Close()
	_, err := set.Dial(t.Context(), "tcp", addr)
	if err == nil || !strings.Contains(err.Error(), "make TLS with broker "+addr) {
		t.Errorf("got %v, want the broker %s named", err, addr)
	}
	if len(set.open) != 0 {
		t.Errorf("%d connections stay open after a failure", len(set.open))
	}
}

func TestCloseEndsAReadAndRefusesMore(t *testing.T) {
	accepted := make(chan net.Conn, 2)
	addr := listen(t, func(c net.Conn) { accepted <- c })
	set := New(nil)
	c, err := set.Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = (<-accepted).Close() }()
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	set.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read that waited: got %v, want %v", err, net.ErrClosed)
	}
	if _, err := set.Dial(t.Context(), "tcp", addr); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a connection after the end: got %v, want %v", err, net.ErrClosed)
	}
}
