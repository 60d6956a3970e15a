package kafka

import (
	"context"
	"testing"

	"switchboard/internal/bus"
)

// A generation may end between its announcement and the start of its handles, for
// which nobody waits then.
func TestNoHandleBeginsAfterTheEndOfItsGeneration(t *testing.T) {
	generation, end := context.WithCancel(t.Context())
	handled := 0
	handle := func(context.Context, bus.Claim) error {
		handled++
		end()
		return nil
	}
	fail := func(err error) { t.Errorf("failed: %v", err) }
	for range 2 {
		work(t.Context(), generation, fail, &claim{}, handle)
	}
	if handled != 1 {
		t.Errorf("handled %d times, want once: the second time the generation was over", handled)
	}
}
