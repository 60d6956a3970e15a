package session

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/auth"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

func TestEventsOfAConnectedSession(t *testing.T) {
	const conversation = `"conversation_id":"0198c0de-1234-7abc-8def-0123456789ab"`
	for name, test := range map[string]struct {
		frame              string
		want               []string
		sent, notes, marks int
	}{
		"send_message":   {sendFrame("m1"), nil, 1, 0, 0},
		"heartbeat":      {`{"type":"heartbeat","id":"h"}`, []string{"heartbeat_ack"}, 0, 0, 0},
		"mark_read":      {`{"type":"mark_read","data":{` + conversation + `,"seq":3}}`, nil, 0, 0, 1},
		"mark_delivered": {`{"type":"mark_delivered","data":{` + conversation + `,"seq":3}}`, nil, 0, 0, 1},
		"typing":         {`{"type":"typing","data":{` + conversation + `,"is_typing":true}}`, nil, 0, 1, 0},
		"unknown":        {`{"type":"hello"}`, []string{"error unknown_type"}, 0, 0, 0},
		"no JSON":        {`hello`, []string{"error bad_request"}, 0, 0, 0},
		"empty":          {``, []string{"error bad_request"}, 0, 0, 0},
		"connect again":  {`{"type":"connect","data":{"token":"alice"}}`, []string{"error bad_request"}, 0, 0, 0},
		"new token":      {`{"type":"refresh_token","data":{"token":"alice"}}`, []string{"token_refreshed"}, 0, 0, 0},
		"other's token":  {`{"type":"refresh_token","data":{"token":"bob"}}`, []string{"error unauthorized"}, 0, 0, 0},
		"bad token":      {`{"type":"refresh_token","data":{"token":"bad"}}`, []string{"error unauthorized"}, 0, 0, 0},
		"old token":      {`{"type":"refresh_token","data":{"token":"expired"}}`, []string{"error token_expired"}, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, nil, func(w *world) {
				c := w.connect(0, "alice", "")
				w.send(c, test.frame)
				w.want(c, test.want...)
				if got := w.uplink.count(); got != test.sent {
					t.Errorf("%d messages reached the log, want %d", got, test.sent)
				}
				if got := w.uplink.notes; got != test.notes {
					t.Errorf("%d notes, want %d", got, test.notes)
				}
				if got := w.uplink.marks; got != test.marks {
					t.Errorf("%d marks, want %d", got, test.marks)
				}
			})
		})
	}
}

func TestMessageNamesItsSession(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		w.connect(0, "bob", "")
		c := w.connect(1, "alice", "")
		w.send(c, sendFrame("m1"))
		w.want(c)
		ev, from := w.uplink.sent[0], w.uplink.from[0]
		if from.User != alice || from.Number != numberOf(c) || ev.ID != "m1" || ev.Content != "hello" {
			t.Errorf("the uplink got %+v from %+v", ev, from)
		}
	})
}

func TestUplinkRefuses(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		w.uplink.err = &chat.Error{Code: chat.Unavailable, RetryAfter: time.Second}
		w.send(c, sendFrame("m1"))
		e := w.want(c, "error unavailable")[0]
		if e.ID != "m1" || e.Data["temporary"] != true || e.Data["retry_after_ms"] != 1000.0 ||
			e.Data["client_message_id"] != "0198c0de-1234-7abc-8def-0123456789ac" {
			t.Errorf("the error is %+v", e)
		}
	})
}

func TestMarksHaveALimitOfTheirOwn(t *testing.T) {
	const frame = `{"type":"mark_read","id":"r","data":{"conversation_id":"0198c0de-1234-7abc-8def-0123456789ab","seq":3}}`
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		time.Sleep(time.Second)
		for range chat.MarkBurst {
			w.send(c, frame)
		}
		w.want(c)
		w.send(c, frame)
		e := w.want(c, "error rate_limited")[0]
		wait, _ := e.Data["retry_after_ms"].(float64)
		if e.ID != "r" || wait < 1 || wait > 1000/chat.MarksPerSecond {
			t.Errorf("the refusal is %+v", e)
		}
		w.send(c, sendFrame("m")) // Messages have theirs.
		time.Sleep(time.Duration(wait) * time.Millisecond)
		w.send(c, frame)
		w.want(c)
		w.uplink.err = &chat.Error{Code: chat.Unavailable, RetryAfter: time.Second}
		time.Sleep(time.Second)
		w.send(c, frame)
		w.want(c, "error unavailable")
		if got, want := w.uplink.marks, chat.MarkBurst+1; got != want {
			t.Errorf("%d marks were passed on, want %d", got, want)
		}
	})
}

func TestBinaryFrameIsRefused(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		w.on(0, func() { w.keeper.Message(c, false, []byte("{}")) })
		w.want(c, "bad_frame")
	})
}

func TestTenMistakesInARow(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		for range 2 {
			for range chat.ErrorsInARow - 1 {
				w.send(c, `{`)
			}
			w.send(c, `{"type":"heartbeat"}`) // It ends the row.
		}
		for _, e := range w.seen(c) {
			if e.Code != 0 {
				t.Fatalf("closed with %d after nine mistakes", e.Code)
			}
		}
		for range chat.ErrorsInARow + 1 {
			w.send(c, `{"type":"hello"}`)
		}
		events := w.seen(c)
		if n := len(events); n != chat.ErrorsInARow+1 || events[n-1].Code != chat.CloseTooManyErrors {
			t.Errorf("the client saw %d things, the last is %+v; want ten errors and 4509", n, events[n-1])
		}
	})
}

func TestRateLimitTellsTheTruth(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		time.Sleep(time.Second)
		for range chat.SendBurst {
			w.send(c, sendFrame("m"))
		}
		w.want(c)
		w.send(c, sendFrame("over"))
		e := w.want(c, "error rate_limited")[0]
		wait, _ := e.Data["retry_after_ms"].(float64)
		if e.ID != "over" || wait < 1 || wait > 1000/chat.SendsPerSecond {
			t.Errorf("the refusal is %+v", e)
		}
		time.Sleep(time.Duration(wait)*time.Millisecond - time.Millisecond)
		w.send(c, sendFrame("early"))
		w.want(c, "error rate_limited")
		time.Sleep(time.Millisecond)
		w.send(c, sendFrame("punctual"))
		w.want(c)
		time.Sleep(10 * time.Second)
		for range chat.SendBurst {
			w.send(c, sendFrame("m"))
		}
		w.want(c)
		if got, want := w.uplink.count(), 2*chat.SendBurst+1; got != want {
			t.Errorf("%d messages reached the log, want %d", got, want)
		}
	})
}

func TestWhoGoesOnOverTheRateIsClosed(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		for range chat.SendBurst + RefusalsOver {
			w.send(c, sendFrame("m"))
		}
		events := w.seen(c)
		if last := events[len(events)-1]; last.Code != chat.CloseRateLimited || len(events) != RefusalsOver+1 {
			t.Errorf("after %d things the client saw %+v, want 4005", len(events), last)
		}
	})
}

func TestTokenEnds(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice 90s", "")
		time.Sleep(29 * time.Second)
		w.visit(c, 0)
		w.want(c)
		time.Sleep(time.Second)
		w.visit(c, 0)
		w.visit(c, 0)
		w.want(c, "token_expiring")
		time.Sleep(59 * time.Second)
		w.visit(c, 0)
		w.want(c)
		time.Sleep(time.Second)
		w.visit(c, 0)
		w.want(c, "token_expired")
	})
}

func TestTokenIsRefreshed(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice 50s", "")
		w.visit(c, 0)
		w.want(c, "token_expiring")
		end := time.Now().Add(90 * time.Second).Unix()
		w.send(c, `{"type":"refresh_token","id":"r","data":{"token":"alice 90s"}}`)
		if e := w.want(c, "token_refreshed")[0]; e.ID != "r" || e.Data["expires_at"] != float64(end) {
			t.Errorf("token_refreshed = %+v, want %d", e, end)
		}
		time.Sleep(60 * time.Second)
		w.visit(c, 0)
		w.want(c, "token_expiring") // The new one, too.
	})
}

func TestTokenGoodByLeewayLeavesAMomentToRefresh(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice -30s", "")
		w.visit(c, 0)
		w.want(c, "token_expiring")
		w.visit(c, 0)
		w.want(c, "token_expired")
	})
}

func TestSilentClientIsPingedTwiceThenClosed(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		var pinged []time.Duration
		var idle time.Duration
		for w.socket(c).closed == false && idle < 200*time.Second {
			idle += 2 * time.Second
			before := w.socket(c).pings
			w.visit(c, idle)
			if events := w.seen(c); len(events) > 0 && events[0].Code != chat.CloseHeartbeatTimeout {
				t.Fatalf("the client saw %+v", events)
			}
			if w.socket(c).pings > before {
				pinged = append(pinged, idle)
			}
		}
		if len(pinged) != PingsMissed || pinged[0] < 24*time.Second || pinged[0] > 38*time.Second {
			t.Errorf("pinged after %v of silence, want twice, first at 30 s ± 20 %%", pinged)
		}
		if idle < 72*time.Second || idle > 110*time.Second {
			t.Errorf("closed after %v of silence, want three heartbeats", idle)
		}
	})
}

func TestAByteIsLife(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		for range 10 {
			w.visit(c, 40*time.Second)
			w.visit(c, 0)
		}
		w.want(c)
		if n := w.socket(c).pings; n != 10 {
			t.Errorf("%d pings, want 10", n)
		}
	})
}

func TestPushesReachEverySessionOfAUserInOrder(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		conns := []edge.Conn{w.connect(0, "alice", "a"), w.connect(0, "alice", "b"), w.connect(1, "alice", "c")}
		stranger := w.connect(0, "bob", "")
		const n = 50
		for i := range n {
			w.push(alice, fmt.Sprintf(`{"type":"new_message","data":{"seq":%d}}`, i))
		}
		for _, c := range conns {
			events := w.seen(c)
			if len(events) != n {
				t.Fatalf("%d pushes, want %d", len(events), n)
			}
			for i, e := range events {
				if e.Data["seq"] != float64(i) {
					t.Fatalf("push %d has seq %v", i, e.Data["seq"])
				}
			}
		}
		w.want(stranger)
	})
}

func TestSenderIsAnsweredAndItsOtherDevicesArePushedTo(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		sender, other := w.connect(0, "alice", "a"), w.connect(1, "alice", "b")
		b := NewBatch(func(*Batch) {})
		b.Answer(numberOf(sender), []byte(`{"type":"message_sent","id":"m"}`))
		b.Push(bus.Durable, []byte(`{"type":"new_message"}`), []chat.UserID{alice}, numberOf(sender))
		b.Answer(numberOf(edge.Conn{Loop: 1, Slot: 77, Gen: 4}), []byte(`{"type":"message_sent"}`)) // Left long ago.
		b.Answer(numberOf(edge.Conn{Loop: 1, Slot: other.Slot, Gen: other.Gen + 1}), []byte(`{"type":"message_sent"}`))
		w.keeper.Deliver(b)
		w.want(sender, "message_sent")
		w.want(other, "new_message")
		if n := w.keeper.count.gone.Get(); n != 2 {
			t.Errorf("%d answers had no session, want 2", n)
		}
	})
}

func TestBatchComesBackWhenAllLoopsAreDone(t *testing.T) {
	inWorld(t, 3, nil, func(w *world) {
		back := make(chan *Batch, 1)
		b := NewBatch(func(b *Batch) { b.Reset(); back <- b })
		for range 2 {
			b.Push(bus.Durable, []byte(`{}`), []chat.UserID{bob}, 0)
			w.keeper.Deliver(b)
			if b = <-back; b.Len() != 0 || b.Bytes() != 0 {
				t.Errorf("a batch came back with %d frames", b.Len())
			}
		}
	})
}

func TestSlowReader(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		w.with(c, func(s *socket) { s.room = 60 })
		w.push(alice, `{"type":"new_message","data":{"seq":1}}`)
		w.push(alice, `{"type":"new_message","data":{"seq":2}}`) // No room.
		w.want(c, "new_message")
		w.with(c, func(s *socket) { s.room = 60 })
		w.push(alice, `{"type":"new_message","data":{"seq":3}}`) // Room, but 2 would be missing.
		w.want(c)
		w.drained(c)
		w.push(alice, `{"type":"new_message","data":{"seq":4}}`)
		events := w.want(c, "behind", "new_message")
		if events[0].Data["reason"] != "slow" || events[1].Data["seq"] != 4.0 {
			t.Errorf("the client saw %+v", events)
		}
		time.Sleep(2 * DrainLimit)
		w.visit(c, 0)
		w.want(c)
	})
}

func TestReaderThatDoesNotDrainIsClosed(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		w.with(c, func(s *socket) { s.room = 0 })
		w.push(alice, `{"type":"new_message"}`)
		time.Sleep(DrainLimit - time.Second)
		w.visit(c, 0)
		w.want(c)
		time.Sleep(time.Second)
		w.visit(c, 0)
		w.want(c, "slow_consumer")
	})
}

// A repair that finds no room for its word makes the session slow, and one that
// finds it slow already leaves the word to the end of that.
func TestRepairDoesNotEndASlowReader(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		w.with(c, func(s *socket) { s.room = 0 })
		w.keeper.Behind("routing")
		w.want(c)
		w.with(c, func(s *socket) { s.room = 200 }) // Room, but not drained yet.
		w.keeper.Behind("routing")
		w.push(alice, `{"type":"new_message"}`)
		w.want(c)
		w.drained(c)
		if e := w.want(c, "behind")[0]; e.Data["reason"] != "slow" {
			t.Errorf("behind = %+v", e)
		}
		w.with(c, func(s *socket) { s.room = 0 })
		w.keeper.Behind("routing")
		w.want(c)
		time.Sleep(DrainLimit + time.Second)
		w.visit(c, 0)
		w.want(c, "slow_consumer")
	})
}

func TestAnswersAreNeverDropped(t *testing.T) {
	for name, answer := range map[string]func(w *world, c edge.Conn){
		"message_sent": func(w *world, c edge.Conn) {
			b := NewBatch(func(*Batch) {})
			b.Answer(numberOf(c), []byte(`{"type":"message_sent"}`))
			w.keeper.Deliver(b)
		},
		"error": func(w *world, c edge.Conn) { w.send(c, `{`) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, nil, func(w *world) {
				c := w.connect(0, "alice", "")
				w.with(c, func(s *socket) { s.room = 0 })
				answer(w, c)
				w.want(c, "slow_consumer")
			})
		})
	}
}

// The last of a queue is left to answers, and only of one that will be told to
// have drained.
func TestPushesLeaveRoomForAnswers(t *testing.T) {
	const bound = 64 << 10
	for name, test := range map[string]struct {
		queued int
		want   []string
	}{
		"room":              {bound - answerReserve - 100, []string{"new_message", "message_sent"}},
		"the answers' room": {bound - answerReserve, []string{"message_sent"}},
		"not half full":     {bound/2 - 1, []string{"new_message", "message_sent"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, nil, func(w *world) {
				c := w.connect(0, "alice", "")
				w.with(c, func(s *socket) { s.queued = test.queued })
				w.push(alice, `{"type":"new_message"}`)
				b := NewBatch(func(*Batch) {})
				b.Answer(numberOf(c), []byte(`{"type":"message_sent"}`))
				w.keeper.Deliver(b)
				w.want(c, test.want...)
			})
		})
	}
}

func TestFleetingEventsGoFirst(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		w.with(c, func(s *socket) { s.queued = 32 << 10 })
		w.pushAs(bus.Signal, alice, `{"type":"typing"}`)
		w.pushAs(bus.Latest, alice, `{"type":"message_status"}`)
		w.want(c, "message_status")
		w.with(c, func(s *socket) { s.queued = 1000 })
		w.pushAs(bus.Signal, alice, `{"type":"typing"}`)
		w.want(c, "typing")
	})
}

func TestSecondSocketOfADeviceReplacesTheFirst(t *testing.T) {
	for _, device := range []string{"phone", "0198c0de-1234-7abc-8def-0123456789ab", strings.Repeat("d", 64)} {
		inWorld(t, 2, nil, func(w *world) {
			for _, loop := range []uint16{0, 1} {
				first := w.connect(0, "alice", device)
				tablet := w.connect(0, "alice", strings.Repeat("d", 63))
				others := w.connect(0, "bob", device)
				second := w.connect(loop, "alice", device)
				w.want(first, "session_replaced")
				w.want(second)
				w.want(tablet)
				w.want(others)
				for _, c := range []edge.Conn{tablet, others, second} {
					w.leave(c)
				}
			}
		})
	}
}

func TestEleventhConnectionClosesTheOldest(t *testing.T) {
	inWorld(t, 3, nil, func(w *world) {
		var conns []edge.Conn
		for i := range 2 * chat.ConnectionsPerUser {
			conns = append(conns, w.connect(uint16(i%3), "alice", ""))
		}
		for i, c := range conns {
			if i < chat.ConnectionsPerUser {
				w.want(c, "session_replaced")
			} else {
				w.want(c)
			}
		}
	})
}

// Two sockets of one device at the same moment, on two loops: each looks for
// older sessions, and exactly one of the two is older.
func TestTwoNewcomersAtOnceDoNotCloseEachOther(t *testing.T) {
	var gate chan struct{}
	slowly := func(cfg *Config) {
		cfg.Verify = func(token string) (auth.Identity, error) {
			<-gate
			return verify(token)
		}
	}
	for round := range 50 {
		synctest.Test(t, func(t *testing.T) {
			gate = make(chan struct{})
			w := newWorld(t, 2, slowly)
			defer w.end()
			request := edge.Request{Authorization: "Bearer alice", DeviceID: "phone"}
			conns := []edge.Conn{w.open(0, request), w.open(1, request)}
			close(gate)
			synctest.Wait()
			replaced := 0
			for _, c := range conns {
				if w.socket(c).closed {
					replaced++
				}
			}
			if replaced != 1 {
				t.Errorf("round %d: %d of two were replaced, want 1", round, replaced)
			}
		})
	}
}

// When a session ended is told with its removal, not when the directory got to
// know of it.
func TestTheDirectoryLearnsWhenASessionEnded(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "phone")
		time.Sleep(90 * time.Second)
		w.directory.do(func() { w.directory.away = true })
		ended := time.Now()
		w.leave(c)
		time.Sleep(10 * time.Second)
		w.directory.do(func() { w.directory.away = false })
		time.Sleep(2 * presenceLast)
		synctest.Wait()
		var got time.Time
		w.directory.do(func() {
			last := w.directory.batches[len(w.directory.batches)-1]
			got = last[len(last)-1].Ended
		})
		if late := got.Sub(ended).Abs(); late > time.Second {
			t.Errorf("the session ended at %v, and the directory was told %v", ended, got)
		}
	})
}
