package session

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
)

const (
	heartbeatFrame = `{"type":"heartbeat","id":"h"}`
	refreshFrame   = `{"type":"refresh_token","id":"r","data":{"token":"alice"}}`
	markFrame      = `{"type":"mark_read","id":"k","data":{"conversation_id":"0198c0de-1234-7abc-8def-0123456789ab","seq":3}}`
)

// told returns the retry_after_ms of a refusal.
func told(t *testing.T, e event) time.Duration {
	t.Helper()
	wait, _ := e.Data["retry_after_ms"].(float64)
	if wait < 1 {
		t.Fatalf("the refusal is %+v, want a time to wait", e)
	}
	return time.Duration(wait) * time.Millisecond
}

// Every limit of a connection and of a user: what is over it is refused with the time
// after which it is taken, a moment earlier it is not.
func TestEveryLimitTellsTheTruth(t *testing.T) {
	for name, test := range map[string]struct {
		frame       string
		answer      []string // of one that is taken
		burst       int
		connections int
		silent      int // of these, that send nothing
	}{
		"messages of a connection":        {sendFrame("m"), nil, chat.SendBurst, 1, 0},
		"messages of a user":              {sendFrame("m"), nil, chat.UserSendBurst, 3, 0},
		"new tokens of a connection":      {refreshFrame, []string{"token_refreshed"}, chat.SendBurst, 1, 0},
		"new tokens of a user":            {refreshFrame, []string{"token_refreshed"}, chat.UserSendBurst, 3, 0},
		"marks of a connection":           {markFrame, nil, chat.MarkBurst, 1, 0},
		"marks of a user":                 {markFrame, nil, chat.UserMarkBurst, 3, 0},
		"heartbeats of a connection":      {heartbeatFrame, []string{"heartbeat_ack"}, chat.MarkBurst, 1, 0},
		"heartbeats of a user":            {heartbeatFrame, []string{"heartbeat_ack"}, chat.UserMarkBurst, 3, 0},
		"messages of a user of two loops": {sendFrame("m"), nil, chat.UserSendBurst, 2, 0},
		"messages of one of three":        {sendFrame("m"), nil, chat.SendBurst, 3, 2},
		"marks of one of three":           {markFrame, nil, chat.MarkBurst, 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 2, nil, func(w *world) {
				var conns []edge.Conn
				for i := range test.connections {
					conns = append(conns, w.connect(uint16(i%2), "alice", fmt.Sprint(i)))
				}
				conns = conns[test.silent:]
				w.connect(0, "bob", "") // Whom all this does not concern.
				time.Sleep(time.Minute)
				send := func(i int) edge.Conn {
					c := conns[i%len(conns)]
					w.send(c, test.frame)
					return c
				}
				for i := range test.burst {
					w.want(send(i), test.answer...)
				}
				last := conns[test.burst%len(conns)]
				w.want(send(test.burst), "error rate_limited")
				w.send(last, test.frame)
				wait := told(t, w.want(last, "error rate_limited")[0])
				time.Sleep(wait - time.Millisecond)
				w.send(last, test.frame)
				w.want(last, "error rate_limited")
				time.Sleep(time.Millisecond)
				w.send(last, test.frame)
				w.want(last, test.answer...)
			})
		})
	}
}

// Who has one connection is limited by that alone, and remembered by nobody.
func TestOnlyUsersWithSeveralConnectionsAreRemembered(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		alone, one, other := w.connect(0, "alice", ""), w.connect(0, "bob", "1"), w.connect(1, "bob", "2")
		time.Sleep(time.Minute)
		if n := w.keeper.allowed.remembered(); n != 0 {
			t.Errorf("%d users are remembered a minute after they came", n)
		}
		for _, c := range []edge.Conn{alone, one, other} {
			w.send(c, sendFrame("m"))
			w.want(c)
		}
		if n := w.keeper.allowed.remembered(); n != 1 {
			t.Errorf("%d users are remembered, want the one with two connections", n)
		}
		time.Sleep(3 * allowanceSweep)
		if n := w.keeper.allowed.remembered(); n != 0 {
			t.Errorf("%d users are remembered who did nothing for long", n)
		}
	})
}

// What is remembered has a bound; beyond it the limits of connections hold.
func TestWhoIsNotRememberedHasTheLimitsOfItsConnections(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		one := w.connect(0, "alice", "1")
		w.connect(0, "alice", "2")
		w.stopRun() // Nobody forgets.
		for i := range w.keeper.allowed.shards {
			shard := &w.keeper.allowed.shards[i]
			clear(shard.users)
			for range allowancesPerShard {
				shard.users[chat.UserID(chat.NewRequestID())] = allowance{}
			}
		}
		for range chat.SendBurst {
			w.send(one, sendFrame("m"))
		}
		w.want(one)
		w.send(one, sendFrame("m"))
		w.want(one, "error rate_limited")
		if w.keeper.count.unlimited.Get() == 0 {
			t.Error("that is not counted")
		}
	})
}

// Whatever a client floods its connection with ends it, with 4005.
func TestAFloodIsClosed(t *testing.T) {
	for name, test := range map[string]struct {
		frame    string
		at       time.Duration // between two of them
		refused  string        // what the last but one was answered
		accepted int           // at most
	}{
		"heartbeats at once":     {heartbeatFrame, 0, "error rate_limited", chat.MarkBurst},
		"heartbeats all the way": {heartbeatFrame, time.Millisecond, "error rate_limited", chat.MarkBurst + 200},
		"marks":                  {markFrame, time.Millisecond, "error rate_limited", chat.MarkBurst + 200},
		"messages":               {sendFrame("m"), time.Millisecond, "error rate_limited", chat.SendBurst + 200},
		"typing":                 {typingFrame, time.Millisecond, "", 10},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, nil, func(w *world) {
				c := w.connect(0, "alice", "")
				time.Sleep(time.Minute)
				const many = 2000
				for range many {
					w.send(c, test.frame)
					time.Sleep(test.at)
				}
				events := w.seen(c)
				if len(events) == 0 || events[len(events)-1].Code != chat.CloseRateLimited {
					t.Fatalf("after %d frames the client saw %d things, want 4005 as the last", many, len(events))
				}
				refused, accepted := 0, w.uplink.count()+w.uplink.noted()+w.uplink.marks
				for _, e := range events[:len(events)-1] {
					switch e.Type {
					case "error":
						refused++
					case "heartbeat_ack":
						accepted++
					}
				}
				if accepted > test.accepted {
					t.Errorf("%d were taken, want at most %d", accepted, test.accepted)
				}
				if want := test.refused != ""; refused > 0 != want {
					t.Errorf("%d refusals", refused)
				}
			})
		})
	}
}

// Who heeds what is said is never closed, however much there is to say.
func TestWhoHeedsTheLimitsStays(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		const many = 2000
		for range many {
			for {
				w.send(c, sendFrame("m"))
				events := w.seen(c)
				if len(events) == 0 {
					break
				}
				if events[0].Code != 0 {
					t.Fatalf("closed with %d", events[0].Code)
				}
				time.Sleep(told(t, events[0]))
			}
		}
		if n := w.uplink.count(); n != many {
			t.Errorf("%d messages reached the log, want %d", n, many)
		}
	})
}

// A user who connects again and again is told when to come, before the upgrade, or
// after `connect` with 4005.
func TestTooManyOpens(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		request := edge.Request{Authorization: "Bearer alice", DeviceID: "phone"}
		for i := range chat.OpenBurst {
			c := w.open(uint16(i%2), request)
			w.want(c, "connected")
			w.leave(c)
		}
		e := w.seen(w.open(0, request))[0]
		if e.Status != 429 || e.Retry <= 0 || e.Retry > time.Second {
			t.Errorf("the client saw %+v, want 429 and when to come again", e)
		}
		frame := w.open(1, edge.Request{})
		w.send(frame, `{"type":"connect","id":"c","data":{"token":"alice"}}`)
		wait := told(t, w.want(frame, "error rate_limited", "rate_limited")[0])
		w.connect(0, "bob", "") // The limit is a user's.
		time.Sleep(wait)
		w.connect(0, "alice", "phone")
		synctest.Wait()
	})
}
