package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// listening answers the client's pings for as long as the connection lasts.
func (c *socket) listening() {
	go func() {
		for {
			if _, _, err := c.Read(context.Background()); err != nil {
				return
			}
		}
	}()
}

// pipes is a network without buffers, in which time is that of the test.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func() // closes it, once
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// piped returns a server that is reached by pipes and pings every 5 seconds, and how
// a device does.
func piped(t *testing.T) (s *script, reach func(*Config)) {
	s = scriptOf(t)
	s.connected.HeartbeatMS = 5000
	network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	network.close = sync.OnceFunc(func() { close(network.closed) })
	s.server = httptest.NewUnstartedServer(s)
	_ = s.server.Listener.Close() // a real one
	s.server.Listener = network
	s.server.Start()
	transport := &http.Transport{DialContext: network.dial}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.server.Close()
	})
	return s, func(c *Config) { c.REST.HTTP = &http.Client{Transport: transport} }
}

// A host that lost its power says nothing, and neither does what the network swallows.
func TestAConnectionOnWhichNothingIsHeardIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reach := piped(t)
		d := s.device(reach)
		s.next() // It reads nothing, so that it answers no ping.
		began := time.Now()
		next := s.next()
		if took := time.Since(began); took > 3*5*time.Second+BackoffFirst {
			t.Errorf("the client is back after %v", took)
		}
		next.listening()
		next.say("new_message", at(2))
		d.wants(2)
	})
}

func TestAConnectionThatAnswersIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reach := piped(t)
		d := s.device(reach)
		c := s.next()
		c.listening()
		for seq := chat.Seq(2); seq < 5; seq++ {
			time.Sleep(10 * time.Minute)
			c.say("new_message", at(seq))
			d.wants(seq)
		}
	})
}

// A network that comes and goes must not make the pauses longer each time: a connection
// that was of use for longer than the pause might have been begins anew.
func TestPausesAreShortAgainAfterAConnectionOfUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reach := piped(t)
		s.device(reach)
		c := s.next()
		for range 10 {
			time.Sleep(2*BackoffFirst + time.Millisecond)
			_ = c.CloseNow()
			ended := time.Now()
			c = s.next()
			if took := time.Since(ended); took > BackoffFirst {
				t.Fatalf("the client is back after %v, want %v at most", took, BackoffFirst)
			}
		}
	})
}

// Who is slow to apply does not read, and so hears no answer.
func TestAConnectionThatTheClientDoesNotReadIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, reach := piped(t)
		const last = frameBuffer + 100
		release, applied := make(chan struct{}), make(chan chat.Seq, last)
		s.device(reach, func(c *Config) {
			c.Apply = func(m wire.Message) {
				<-release
				applied <- m.Seq
			}
		})
		c := s.next()
		c.listening()
		go func() {
			for seq := chat.Seq(2); seq <= last; seq++ {
				c.say("new_message", at(seq))
			}
		}()
		time.Sleep(10 * time.Minute)
		close(release)
		for want := chat.Seq(2); want <= last; want++ {
			select {
			case got := <-applied:
				if got != want {
					t.Fatalf("applied seq %d, want %d", got, want)
				}
			case <-s.conns:
				t.Fatalf("the client connects again before seq %d is applied", want)
			}
		}
	})
}

// swallowed is a network from which no answer comes.
type swallowed struct{}

func (swallowed) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestWhatIsNeverAnsweredEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		through := &http.Client{Transport: swallowed{}}
		rest := &REST{Base: "http://test", HTTP: through, Token: func(context.Context) (string, error) { return "", nil }}
		for _, try := range []struct {
			limit time.Duration
			call  func() error
		}{
			{CallLimit, func() error { return rest.Do(t.Context(), "GET", "/x", nil, nil) }},
			{ConnectLimit, func() error {
				_, err := dial(t.Context(), through, "ws://test/ws", "token", "")
				return err
			}},
		} {
			began := time.Now()
			err := try.call()
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != try.limit {
				t.Errorf("got %v after %v, want the end of its time after %v", err, took, try.limit)
			}
		}
	})
}
