package redis_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/presence/embedded"
	"switchboard/internal/presence/redis"
)

// A look-up costs one command for each user and one for each slot, in two round
// trips, however many users there are: what docs/capacity.md reckons with.
func TestCommandsAndRoundTripsOfALookupAreCounted(t *testing.T) {
	server, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	set := metrics.New()
	d, err := redis.Open(redis.Config{Addrs: []string{server.Addr()}, Metrics: set})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var changes []presence.Change
	var users []chat.UserID
	for i := range 8 {
		u := chat.UserID{byte(i), 1}
		users = append(users, u)
		changes = append(changes, presence.Change{User: u, Route: presence.Route{Slot: "gw-1", Boot: 1, Session: uint64(i)}})
	}
	if err := d.Claim(t.Context(), "gw-1", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	commands := set.Counter("switchboard_presence_commands_total")
	before, trips := commands.Get(), roundTrips(t, set)
	if _, err := d.Where(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	if got := commands.Get() - before; got != 9 {
		t.Errorf("a look-up of 8 users on one slot took %d commands, want 9", got)
	}
	if got := roundTrips(t, set) - trips; got != 2 {
		t.Errorf("a look-up took %d round trips, want 2", got)
	}
}

func roundTrips(t *testing.T, set *metrics.Set) int {
	t.Helper()
	var out bytes.Buffer
	set.Write(&out)
	_, count, _ := strings.Cut(out.String(), "switchboard_presence_round_trip_seconds_count ")
	count, _, _ = strings.Cut(count, "\n")
	n, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
