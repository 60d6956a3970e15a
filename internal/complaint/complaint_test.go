package complaint

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAReasonIsDueOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := NewBook(2)
		if !book.Due("reset") || book.Due("reset") {
			t.Error("want a reason to be due once")
		}
		if !book.Due("refused") {
			t.Error("another reason is not due")
		}
		time.Sleep(Pause - time.Nanosecond)
		if book.Due("reset") {
			t.Error("a reason is due again before the minute is over")
		}
		time.Sleep(time.Nanosecond)
		if !book.Due("reset") {
			t.Error("a reason is not due after a minute")
		}
	})
}

func TestABookDoesNotGrow(t *testing.T) {
	book := NewBook(8)
	for i := range 100 {
		if reason := strings.Repeat("r", i); !book.Due(reason) {
			t.Errorf("%q is not due", reason)
		}
		if got := book.Len(); got > 8 {
			t.Fatalf("%d reasons are remembered, want 8 at most", got)
		}
	}
}

func TestNumbersAreNoReason(t *testing.T) {
	if got, want := Reason("read from port 17:\nreset after 3s"), "read from port :\nreset after s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
