package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/presence/redis"
)

// zeros is a server that answers every command with 0, and leaves no garbage.
func zeros(t *testing.T) (addr string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
		for first := true; command(in) == nil; first = false {
			answer := ":0\r\n"
			if first {
				answer = "-ERR unknown command\r\n" // HELLO
			}
			_, _ = out.WriteString(answer)
			if in.Buffered() == 0 {
				_ = out.Flush()
			}
		}
	}()
	return listener.Addr().String()
}

// command reads one: an array of strings, each behind its length.
func command(in *bufio.Reader) error {
	words, err := number(in)
	for range words {
		var length int
		if length, err = number(in); err != nil {
			return err
		}
		if _, err = in.Discard(length + len("\r\n")); err != nil {
			return err
		}
	}
	return err
}

// number reads a line that is a sign and digits.
func number(in *bufio.Reader) (n int, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	for _, c := range line[1 : len(line)-len("\r\n")] {
		n = 10*n + int(c-'0')
	}
	return n, nil
}

// here are the changes that register so many sessions again.
func here(sessions int) []presence.Change {
	changes := make([]presence.Change, sessions)
	for i := range changes {
		changes[i] = presence.Change{User: chat.UserID{byte(i), byte(i >> 8)}, Route: presence.Route{
			Slot: "gw-1", Boot: 7, Session: uint64(i) + 1, Device: "phone-" + strconv.Itoa(i),
		}}
	}
	return changes
}

// Everybody is registered again all the time, so what is left behind for each is what a
// connection at rest weighs. There is as much for a large round as for a small one.
func TestRegisteringAgainLeavesNoGarbageForEach(t *testing.T) {
	d, err := redis.Open(redis.Config{Addrs: []string{zeros(t)}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	cost := func(sessions int) float64 {
		changes := here(sessions)
		return testing.AllocsPerRun(50, func() {
			if _, err := d.Apply(context.Background(), changes); err != nil {
				t.Fatal(err)
			}
		})
	}
	few, many := cost(8), cost(256)
	if each := (many - few) / (256 - 8); each > 0.1 {
		t.Errorf("%v allocations for 8 sessions and %v for 256, want as good as none for each", few, many)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// What is used again says nothing of the last time.
func TestRegisteringAgainAnswersForEach(t *testing.T) {
	_, d := start(t)
	ctx, all := t.Context(), here(5)
	if err := d.Claim(ctx, "gw-1", 7); err != nil {
		t.Fatal(err)
	}
	for _, round := range []struct {
		lost    []int // sessions that the directory forgets before
		changes []presence.Change
		want    string
	}{
		{nil, all, "[{true false} {true false} {true false} {true false} {true false}]"},
		{nil, all, "[{false false} {false false} {false false} {false false} {false false}]"},
		{[]int{1, 3}, all[1:], "[{true false} {false false} {true false} {false false}]"},
		{[]int{0}, all[:2], "[{true false} {false false}]"},
		{nil, nil, "[]"},
	} {
		for _, i := range round.lost {
			gone := all[i]
			gone.Remove = true
			if _, err := d.Apply(ctx, []presence.Change{gone}); err != nil {
				t.Fatal(err)
			}
		}
		applied, err := d.Apply(ctx, round.changes)
		if got := fmt.Sprint(applied); err != nil || got != round.want {
			t.Errorf("after %v were lost: got %s, %v, want %s", round.lost, got, err, round.want)
		}
	}
	for i, c := range all {
		places, err := d.Where(ctx, []chat.UserID{c.User})
		if err != nil || len(places[0].Routes) != 1 || !strings.HasSuffix(places[0].Routes[0].Device, strconv.Itoa(i)) {
			t.Errorf("user %d is at %+v, %v", i, places, err)
		}
	}
	aboard := 0
	for part := range presence.AboardParts {
		users, err := d.Aboard(ctx, presence.Life{Slot: "gw-1", Boot: 7}, part)
		if err != nil {
			t.Fatal(err)
		}
		aboard += len(users)
	}
	if aboard != len(all) {
		t.Errorf("%d are on the list of the gateway, want %d", aboard, len(all))
	}
}
