package session

import (
	"testing"
	"time"

	"switchboard/internal/chat"
)

const junkToken = `{"type":"refresh_token","id":"r","data":{"token":"bad"}}`

// Each bad token costs a verification, so they are mistakes like any other.
func TestTenBadTokensInARow(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		for range chat.ErrorsInARow - 1 {
			w.send(c, junkToken)
			if e := w.want(c, "error unauthorized")[0]; e.ID != "r" {
				t.Fatalf("the error is %+v, want its id", e)
			}
		}
		w.send(c, `{"type":"refresh_token","data":{"token":"alice"}}`) // It ends the row.
		w.want(c, "token_refreshed")
		for range chat.ErrorsInARow - 1 {
			w.send(c, junkToken)
			w.want(c, "error unauthorized")
		}
		w.send(c, junkToken)
		w.want(c, "error unauthorized", "too_many_errors")
	})
}

// Good tokens cost as much.
func TestTokensAreTakenFromTheBucket(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		time.Sleep(time.Second)
		for range chat.SendBurst {
			w.send(c, `{"type":"refresh_token","data":{"token":"alice"}}`)
			w.want(c, "token_refreshed")
		}
		w.send(c, `{"type":"refresh_token","id":"over","data":{"token":"alice"}}`)
		e := w.want(c, "error rate_limited")[0]
		wait, _ := e.Data["retry_after_ms"].(float64)
		if e.ID != "over" || wait <= 0 {
			t.Fatalf("the error is %+v", e)
		}
		time.Sleep(time.Duration(wait) * time.Millisecond)
		w.send(c, `{"type":"refresh_token","data":{"token":"alice"}}`)
		w.want(c, "token_refreshed")
	})
}
