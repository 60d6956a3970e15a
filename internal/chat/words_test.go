package chat

import (
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"
)

func TestCodesAndTheirStatuses(t *testing.T) {
	want := map[Code]struct {
		status    int
		temporary bool
	}{
		"bad_request": {400, false}, "unknown_type": {400, false}, "unauthorized": {401, false},
		"token_expired": {401, false}, "forbidden": {403, false}, "not_member": {404, false},
		"conversation_full": {403, false}, "too_many_conversations": {403, false}, "blocked": {403, false},
		"not_found": {404, false}, "idempotency_conflict": {409, false}, "too_large": {413, false},
		"unsupported_media": {415, false}, "rate_limited": {429, true}, "internal": {500, true},
		"unavailable": {503, true}, "timeout": {504, true},
	}
	for code, w := range want {
		if code.Status() != w.status || code.Temporary() != w.temporary {
			t.Errorf("%s: got %d, %v; want %d, %v", code, code.Status(), code.Temporary(), w.status, w.temporary)
		}
	}
	if len(statuses) != len(want) {
		t.Errorf("there are %d codes, want %d", len(statuses), len(want))
	}
	if got := Code("dance").Status(); got != 500 {
		t.Errorf("an unknown code has status %d, want 500", got)
	}
}

func TestCloseCodesAndTheirReasons(t *testing.T) {
	want := map[CloseCode]string{
		1000: "", 1001: "going_away", 1002: "protocol_error", 1003: "unsupported_data", 1007: "invalid_utf8", 1009: "too_big",
		4000: "server_error", 4001: "draining", 4003: "slow_consumer", 4004: "heartbeat_timeout", 4005: "rate_limited",
		4006: "token_expired", 4008: "overloaded", 4009: "auth_timeout",
		4500: "bad_frame", 4501: "auth_failed", 4503: "revoked", 4504: "session_replaced",
		4506: "unsupported_version", 4509: "too_many_errors",
	}
	word := regexp.MustCompile(`^[a-z_0-9]{0,123}$`) // RFC 6455 leaves 123 bytes; metrics take it as a label.
	for code, reason := range want {
		if got := code.Reason(); got != reason || !word.MatchString(got) {
			t.Errorf("%d: got %q, want %q", code, got, reason)
		}
	}
	if len(reasons) != len(want) {
		t.Errorf("there are %d close codes, want %d", len(reasons), len(want))
	}
}

func TestUnknownErrorsSayNothingToClients(t *testing.T) {
	known := Errorf(NotMember, "there is no conversation %d", 5)
	if got, want := known.Error(), "not_member: there is no conversation 5"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := AsError(fmt.Errorf("send: %w", known)); got != known {
		t.Errorf("a wrapped refusal became %v", got)
	}
	got := AsError(errors.New("dial 10.0.0.7: connection refused"))
	if want := (Error{Code: Internal, Message: "the server failed; try again"}); *got != want {
		t.Errorf("an unknown error became %v, want %v", *got, want)
	}
}

func TestWordsOfTheProtocol(t *testing.T) {
	for k, want := range map[Kind]string{1: "text", 2: "image", 3: "file", 15: "event", 0: "unknown", 99: "unknown"} {
		if got := k.String(); got != want {
			t.Errorf("kind %d: got %q, want %q", k, got, want)
		}
		parsed, ok := ParseKind(want)
		if sendable := k >= 1 && k <= 3; ok != sendable || sendable && parsed != k {
			t.Errorf("kind %q is read as %d, %v", want, parsed, ok)
		}
	}
	for c, want := range map[Change]string{
		0: "", 1: "created", 2: "member_added", 3: "member_removed", 4: "role_changed", 5: "renamed", 6: "",
	} {
		if got := c.String(); got != want {
			t.Errorf("change %d: got %q, want %q", c, got, want)
		}
	}
	for ty, want := range map[Type]string{1: "direct", 2: "group", 0: "unknown"} {
		if got := ty.String(); got != want {
			t.Errorf("type %d: got %q, want %q", ty, got, want)
		}
	}
	for r, want := range map[Role]string{1: "member", 2: "admin", 0: "unknown"} {
		if got := r.String(); got != want {
			t.Errorf("role %d: got %q, want %q", r, got, want)
		}
		if parsed, ok := ParseRole(want); ok != (r != 0) || parsed != r {
			t.Errorf("role %q is read as %d, %v", want, parsed, ok)
		}
	}
}

func TestBucketsHold4096Events(t *testing.T) {
	for seq, want := range map[Seq]int64{1: 0, 2: 0, 4096: 0, 4097: 1, 8192: 1, 8193: 2} {
		if got := seq.Bucket(); got != want {
			t.Errorf("seq %d: bucket %d, want %d", seq, got, want)
		}
	}
}

func TestPositionsAreInOrder(t *testing.T) {
	ascending := []Position{{}, {1, 0}, {1, 1}, {1, 900}, {2, 0}, {2, 5}, {10, 0}}
	for i, p := range ascending {
		for j, q := range ascending {
			want := 0
			switch {
			case i < j:
				want = -1
			case i > j:
				want = 1
			}
			if got := p.Compare(q); got != want {
				t.Errorf("%+v against %+v: got %d, want %d", p, q, got, want)
			}
		}
	}
}

// Outcomes depend on these: a replay with others would decide differently.
func TestNumbersThatNeverChange(t *testing.T) {
	if LargeAbove != 100 || BucketSize != 4096 || KeyWindow != 168*time.Hour || KeyTTL != 192*time.Hour {
		t.Errorf("large above %d, bucket %d, key window %v, key TTL %v", LargeAbove, BucketSize, KeyWindow, KeyTTL)
	}
}
