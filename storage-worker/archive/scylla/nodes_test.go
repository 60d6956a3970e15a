package scylla

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gocql/gocql"
)

// inOrder is a policy that knows three nodes and always begins with the first.
type inOrder struct {
	gocql.HostSelectionPolicy
	nodes []*gocql.HostInfo
}

func (inOrder) AddHost(*gocql.HostInfo)    {}
func (inOrder) RemoveHost(*gocql.HostInfo) {}
func (inOrder) HostUp(*gocql.HostInfo)     {}
func (inOrder) HostDown(*gocql.HostInfo)   {}

type node struct{ info *gocql.HostInfo }

func (n node) Info() *gocql.HostInfo { return n.info }
func (n node) Token() gocql.Token    { return nil }
func (n node) Mark(error)            {}

func (p inOrder) Pick(gocql.ExecutableQuery) gocql.NextHost {
	rest := p.nodes
	return func() gocql.SelectedHost {
		if len(rest) == 0 {
			return nil
		}
		next := node{rest[0]}
		rest = rest[1:]
		return next
	}
}

// order is the nodes as one statement would try them, and what chooses each.
func order(w *wary, statement *gocql.Query) (names string, chosen []gocql.SelectedHost) {
	next := w.Pick(statement)
	for host := next(); host != nil; host = next() {
		names += strings.TrimPrefix(host.Info().HostID(), "00000000-0000-0000-0000-00000000000")
		chosen = append(chosen, host)
	}
	return names, chosen
}

func newWary(t *testing.T) *wary {
	t.Helper()
	var p inOrder
	for _, id := range []string{"1", "2", "3"} {
		info := gocql.HostInfoBuilder{HostId: "00000000-0000-0000-0000-00000000000" + id, ConnectAddress: net.IPv4(127, 0, 0, 1)}.Build()
		p.nodes = append(p.nodes, &info)
	}
	return &wary{HostSelectionPolicy: p, log: slog.New(slog.DiscardHandler), now: time.Now}
}

func wantOrder(t *testing.T, w *wary, want string) []gocql.SelectedHost {
	t.Helper()
	names, chosen := order(w, new(gocql.Query))
	if names != want {
		t.Errorf("nodes are asked in the order %s, want %s", names, want)
	}
	return chosen
}

// With one node left a slow read would fail as soon as it is hedged.
func TestReadsAreHedgedWhereThereIsASecondNode(t *testing.T) {
	w := newWary(t)
	nodes := w.HostSelectionPolicy.(inOrder).nodes
	for _, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"one", func() { w.AddHost(nodes[0]) }, false},
		{"two", func() { w.AddHost(nodes[1]) }, true},
		{"one of them again", func() { w.HostUp(nodes[1]) }, true},
		{"one is down", func() { w.HostDown(nodes[1]) }, false},
		{"another one is up", func() { w.HostUp(nodes[2]) }, true},
		{"which leaves", func() { w.RemoveHost(nodes[2]) }, false},
	} {
		step.do()
		if got := w.several(); got != step.want {
			t.Errorf("%s: there are several: %t, want %t", step.what, got, step.want)
		}
	}
}

// A node that is silent is asked last, until a trial shows that it is back.
func TestASilentNodeIsAskedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWary(t)
		chosen := wantOrder(t, w, "123")
		chosen[0].Mark(errors.New("the table does not exist"))
		wantOrder(t, w, "123")
		chosen[0].Mark(gocql.ErrTimeoutNoResponse)
		wantOrder(t, w, "231")
		chosen[1].Mark(nil) // A hedged read was answered elsewhere.
		wantOrder(t, w, "312")
		chosen[2].Mark(gocql.ErrTimeoutNoResponse)
		wantOrder(t, w, "123")
	})
}

// A client that hangs up during a read says nothing of the node.
func TestWhoDoesNotWaitBlamesNoNode(t *testing.T) {
	w := newWary(t)
	caller, hangUp := context.WithCancel(t.Context())
	_, chosen := order(w, new(gocql.Query).WithContext(caller))
	hangUp()
	chosen[0].Mark(nil)
	wantOrder(t, w, "123")
	chosen[0].Mark(gocql.ErrTimeoutNoResponse)
	wantOrder(t, w, "231")
}

func TestATrialShowsWhetherANodeIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWary(t)
		wantOrder(t, w, "123")[0].Mark(gocql.ErrTimeoutNoResponse)
		time.Sleep(avoidance)
		trial := wantOrder(t, w, "123")[0]
		wantOrder(t, w, "231") // All others wait for the trial.
		time.Sleep(timeout)
		trial.Mark(gocql.ErrTimeoutNoResponse)
		wantOrder(t, w, "231")
		time.Sleep(avoidance)
		wantOrder(t, w, "123") // Of this trial nothing is heard.
		wantOrder(t, w, "231")
		time.Sleep(timeout + hedge)
		wantOrder(t, w, "123")
		wantOrder(t, w, "123")
	})
}

// The driver takes every statement on Cassandra for a lightweight transaction,
// and would repeat it where nobody answered.
func TestStatementsAreRepeatedElsewhere(t *testing.T) {
	var policy gocql.RetryPolicy = elsewhere{}
	if _, special := policy.(gocql.LWTRetryPolicy); special {
		t.Error("the driver would ask for another rule")
	}
	for _, err := range []error{gocql.ErrTimeoutNoResponse, gocql.ErrConnectionClosed, context.DeadlineExceeded} {
		if got := policy.GetRetryType(err); got != gocql.RetryNextHost {
			t.Errorf("after %v: got %d, want the next node", err, got)
		}
	}
}
