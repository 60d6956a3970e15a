package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"switchboard/internal/complaint"
)

// A reason that holds up every partition is one line, not one for each, and one
// more after a while.
func TestWhatHoldsUpEverythingIsOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		nagging := newComplaints(slog.New(slog.NewTextHandler(&out, nil)))
		fail := func() {
			for port := range 100 {
				nagging.warn("partition cannot be read", "chat.inbound", fmt.Errorf("read from port %d: reset", port), "topic", "chat.inbound")
			}
			nagging.warn("partition cannot be read", "chat.status", errors.New("read from port 7: reset"), "topic", "chat.status")
		}
		fail()
		if got := strings.Count(out.String(), "\n"); got != 2 {
			t.Fatalf("%d lines, want one for each topic:\n%s", got, out.String())
		}
		time.Sleep(complaint.Pause)
		fail()
		if got := strings.Count(out.String(), "\n"); got != 4 {
			t.Errorf("%d lines after a minute, want one more for each topic:\n%s", got, out.String())
		}
		for i := range 3 * maxComplaints {
			nagging.warn("partition cannot be read", strings.Repeat("t", i), errors.New("reset"))
		}
		if got := nagging.book.Len(); got > maxComplaints {
			t.Errorf("%d lines are remembered, want %d at most", got, maxComplaints)
		}
	})
}

func TestRefusalsAreTold(t *testing.T) {
	for _, tt := range []struct {
		err     error
		refused bool
		want    string
	}{
		{kafkago.SASLAuthenticationFailed, true, "refuse the user or the password"},
		{kafkago.UnsupportedSASLMechanism, true, "do not take SCRAM-SHA-512"},
		{fmt.Errorf("ask: %w", kafkago.TopicAuthorizationFailed), true, "Topic Authorization Failed"},
		{kafkago.NotLeaderForPartition, false, "Not Leader"},
		{errors.New("refused"), false, "refused"},
	} {
		if got := refused(tt.err); got != tt.refused {
			t.Errorf("%v: refused is %v", tt.err, got)
		}
		if got := explain(tt.err); !strings.Contains(got.Error(), tt.want) || !errors.Is(got, tt.err) {
			t.Errorf("%v: got %v, want the same with %q", tt.err, got, tt.want)
		}
	}
}
