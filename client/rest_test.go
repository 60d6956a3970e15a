package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/chat"
)

// answers is a network that gives one answer after the other, the last one for
// ever.
type answers struct {
	list []answer
	came []time.Time
	body []string // of the requests
}

type answer struct {
	status int
	header string // Retry-After
	body   string
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(text)
	}
	a.came, a.body = append(a.came, time.Now()), append(a.body, body)
	next := a.list[0]
	if len(a.list) > 1 {
		a.list = a.list[1:]
	}
	w := httptest.NewRecorder()
	if next.header != "" {
		w.Header().Set("Retry-After", next.header)
	}
	w.WriteHeader(next.status)
	fmt.Fprint(w, next.body)
	return w.Result(), nil
}

func (a *answers) rest() *REST {
	return &REST{
		Base: "http://test", HTTP: &http.Client{Transport: a},
		Token: func(context.Context) (string, error) { return "token", nil },
	}
}

const tooSoon = `{"code":"rate_limited","temporary":true,"retry_after_ms":300}`

func TestACallThatCameTooSoonIsMadeAgainWhenTheServerSaid(t *testing.T) {
	for name, c := range map[string]struct {
		refusal answer
		wait    time.Duration
	}{
		"by the problem, which is exact": {answer{429, "1", tooSoon}, 300 * time.Millisecond},
		"by the header of a proxy":       {answer{429, "2", "slow down"}, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &answers{list: []answer{c.refusal, c.refusal, {status: 204}}}
				if err := a.rest().Do(t.Context(), "POST", "/x", map[string]int{"n": 7}, nil); err != nil {
					t.Fatal(err)
				}
				if len(a.came) != 3 {
					t.Fatalf("called %d times, want 3", len(a.came))
				}
				for i := range 2 {
					if wait := a.came[i+1].Sub(a.came[i]); wait < c.wait || wait > 2*c.wait {
						t.Errorf("waited %v, want %v and a little", wait, c.wait)
					}
					if a.body[i+1] != `{"n":7}` {
						t.Errorf("the body is %q the next time", a.body[i+1])
					}
				}
			})
		})
	}
}

func TestWhatIsNotMadeAgain(t *testing.T) {
	for name, refusal := range map[string]answer{
		"unknown outcome":          {504, "1", `{"code":"timeout","retry_after_ms":1000}`},
		"overload":                 {503, "1", `{"code":"unavailable","retry_after_ms":1000}`},
		"too soon, without a time": {429, "", ""},
		"too soon, for too long":   {429, "3600", ""},
		"no permission":            {403, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &answers{list: []answer{refusal}}
				err := a.rest().Do(t.Context(), "GET", "/x", nil, nil)
				if status, ok := errors.AsType[*StatusError](err); !ok || status.Status != refusal.status || len(a.came) != 1 {
					t.Errorf("got %v after %d calls, want %d after one", err, len(a.came), refusal.status)
				}
			})
		})
	}
}

func TestACallIsNotHeldBackForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		a := &answers{list: []answer{{429, "", tooSoon}}}
		err := a.rest().Do(t.Context(), "GET", "/x", nil, nil)
		status, ok := errors.AsType[*StatusError](err)
		if took := time.Since(began); !ok || status.RetryAfter != 300*time.Millisecond || took > LimitedWait || took < LimitedWait-time.Second {
			t.Errorf("got %v after %v, want 429 after %v", err, took, LimitedWait)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		err = a.rest().Do(ctx, "GET", "/x", nil, nil)
		status, ok = errors.AsType[*StatusError](err)
		if !ok || status.Status != 429 || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v, want a refusal when the caller's time ends, and that it did", err, time.Since(began))
		}
	})
}

func TestRetryAfterMayBeADate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Now().Add(90 * time.Second)
		a := &answers{list: []answer{{503, at.UTC().Format(http.TimeFormat), ""}}}
		status, ok := errors.AsType[*StatusError](a.rest().Do(t.Context(), "GET", "/x", nil, nil))
		if !ok || status.RetryAfter > 90*time.Second || status.RetryAfter < 89*time.Second {
			t.Errorf("got %+v, want 90 s", status)
		}
	})
}

// Nobody is believed who says that trying again is of use in a day, or in longer than
// can be counted.
func TestRetryAfterIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(http.TimeFormat)
		for _, refusal := range []answer{
			{429, "86400", ""},
			{429, "9223372036854775807", ""},
			{429, "9223372037", ""},
			{429, "99999999999999999999", ""},
			{429, tomorrow, ""},
			{429, "1", `{"retry_after_ms":86400000}`},
			{429, "1", `{"retry_after_ms":9223372036855}`},
			{429, "1", `{"retry_after_ms":9223372036854775807}`},
		} {
			a := &answers{list: []answer{refusal}}
			status, ok := errors.AsType[*StatusError](a.rest().Do(t.Context(), "GET", "/x", nil, nil))
			if !ok || status.RetryAfter != RetryLast {
				t.Errorf("%+v: got %+v, want %v", refusal, status, RetryLast)
			}
		}
		a := &answers{list: []answer{{429, "-9223372036854775808", ""}}}
		status, ok := errors.AsType[*StatusError](a.rest().Do(t.Context(), "GET", "/x", nil, nil))
		if !ok || status.RetryAfter != 0 {
			t.Errorf("got %+v, want none", status)
		}
	})
}

func TestPausesThatFramesTellAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{})
		id, p := chat.NewRequestID(), &parcel{}
		c.outbox[id] = p
		for _, of := range []string{fmt.Sprintf(`"client_message_id":%q`, id), fmt.Sprintf(`"id":%q`, markID)} {
			if err := c.refused([]byte(`{` + of + `,"code":"rate_limited","temporary":true,"retry_after_ms":9223372036854775807}`)); err != nil {
				t.Fatal(err)
			}
		}
		if sends, marks := time.Until(p.due), time.Until(c.marksFrom); sends != RetryLast || marks != RetryLast {
			t.Errorf("sends pause for %v and marks for %v, want %v", sends, marks, RetryLast)
		}
	})
}

func TestADeviceComesBackNoSoonerThanItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{list: []answer{{503, "10", ""}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := New(Config{REST: a.rest()}).Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(a.came) < 2 {
			t.Fatalf("came %d times in a minute, want more", len(a.came))
		}
		for i, at := range a.came[1:] {
			if wait := at.Sub(a.came[i]); wait < 10*time.Second {
				t.Errorf("came again after %v, want 10 s at least", wait)
			}
		}
	})
}
