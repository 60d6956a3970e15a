package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

func TestACallWithoutAnAnswerIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, path := r.group(bob)
		r.road.silent = true
		began := time.Now()
		request := chat.NewRequestID()
		body := `{"type":"text","content":"x","client_message_id":"` + request.String() + `"}`
		w := r.refused(alice, chat.Timeout, "POST", path+"/messages", body)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("waited %v, want 10 s", took)
		}
		if w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "unknown") {
			t.Errorf("got %v %s", w.Header(), w.Body)
		}
		// It was stored all the same, and the retry finds it.
		r.road.silent = false
		r.do(alice, 200, nil, "POST", path+"/messages", body)
		if n := len(r.calls.waiting); n != 0 {
			t.Errorf("%d calls still wait", n)
		}
	})
}

func TestACallsClientGoesAway(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	r.road.silent = true
	ctx, cancel := context.WithCancel(t.Context())
	req := r.request(alice, "POST", path+"/messages", `{"type":"text","content":"x"}`).WithContext(ctx)
	r.road.before = func(*bus.Inbound) { cancel() }
	r.serve(req)
	r.calls.mu.Lock()
	defer r.calls.mu.Unlock()
	if n := len(r.calls.waiting); n != 0 {
		t.Errorf("%d calls still wait", n)
	}
}

func TestTheLogRefusesOrLosesARecord(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	for _, c := range []struct {
		full, lost error
		code       chat.Code
	}{
		{fmt.Errorf("partition 3: %w", bus.ErrOverloaded), nil, chat.Unavailable},
		{fmt.Errorf("partition 3: %w", bus.ErrTooLarge), nil, chat.TooLarge},
		{io.ErrUnexpectedEOF, nil, chat.Internal},
		{nil, bus.ErrClosed, chat.Timeout},
	} {
		r.road.full, r.road.lost = c.full, c.lost
		w := r.refused(alice, c.code, "POST", path+"/messages", `{"type":"text","content":"x"}`)
		if got := w.Header().Get("Retry-After"); (got != "") != c.code.Temporary() {
			t.Errorf("%v %v: Retry-After %q", c.full, c.lost, got)
		}
	}
}

func TestOnlyMyAnswersAreMine(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	r.road.before = func(in *bus.Inbound) {
		other := *in
		other.ReplyTo.Boot++ // another life of this server
		r.road.reply(&other, refuse(chat.Forbidden))
		other = *in
		other.ReplyTo.Session += 100 // nobody's call
		r.road.reply(&other, refuse(chat.Forbidden))
		r.road.replies <- []bus.Record{{Value: []byte{0xff}}} // not a record
		none := bus.Delivery{Class: bus.Durable}
		r.road.replies <- []bus.Record{{Value: none.Append(nil)}}
	}
	r.say(alice, path, "x")
	if got := r.calls.late.Get(); got != 1 {
		t.Errorf("%d late answers, want 1", got)
	}
}

func TestThePositionInTheReplyTopicIsLost(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	r.road.replies <- nil
	r.say(alice, path, "x")
	if got := r.calls.jumps.Get(); got != 1 {
		t.Errorf("%d jumps, want 1", got)
	}
}

func TestCommandsNeedARunningServer(t *testing.T) {
	r := idleRig(t)
	body := `{"type":"direct","member_ids":["` + bob.String() + `"]}`
	r.refused(alice, chat.Unavailable, "POST", conversations, body)
	r.do(alice, 200, nil, "GET", conversations, "")

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	if err := r.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { done <- r.Run(ctx) }()
	r.do(alice, 201, nil, "POST", conversations, body)
	if want := []string{"chat.delivery.rest-1"}; fmt.Sprint(r.road.names) != fmt.Sprint(want) {
		t.Errorf("created %v, want %v", r.road.names, want)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.refused(alice, chat.Unavailable, "POST", conversations, body)
}

func TestTooManyCallsWait(t *testing.T) {
	r := newRig(t)
	r.calls.mu.Lock()
	for i := range uint64(CallsWaiting) {
		r.calls.waiting[1<<40+i] = make(chan outcome, 1)
	}
	r.calls.mu.Unlock()
	r.refused(alice, chat.Unavailable, "POST", conversations, `{"type":"group"}`)
}

type noLog struct{ bus.Log }

func (noLog) Bounds(context.Context, string, int32) (int64, int64, error) {
	return 0, 0, io.ErrUnexpectedEOF
}

func TestPrepareSaysWhatItCouldNotDo(t *testing.T) {
	r := idleRig(t, func(c *Config) { c.Log = noLog{} })
	for _, try := range []func(context.Context) error{r.Prepare, r.Run} {
		if err := try(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "chat.delivery.rest-1") {
			t.Errorf("got %v", err)
		}
	}
}

// Requests that are under way when the server is told to end are answered.
func TestServeDrains(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, listener) }()

	r.road.before = func(*bus.Inbound) { cancel() }
	body := strings.NewReader(`{"type":"text","content":"x"}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+listener.Addr().String()+path+"/messages", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token(alice))
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Errorf("got %d", response.StatusCode)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
