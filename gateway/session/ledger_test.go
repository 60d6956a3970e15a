package session

import (
	"maps"
	"os"
	"regexp"
	"strconv"
	"testing"
	"unsafe"
)

var ledgerRow = regexp.MustCompile("(?m)^\\| `([a-z]+)\\.(\\w+)` \\| (\\d+) \\|")

// ledger reads the rows of a part from docs/capacity.md.
func ledger(t *testing.T, part string) map[string]int {
	t.Helper()
	text, err := os.ReadFile("../../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]int)
	for _, row := range ledgerRow.FindAllStringSubmatch(string(text), -1) {
		if row[1] == part {
			rows[row[2]], _ = strconv.Atoi(row[3]) // they are digits
		}
	}
	return rows
}

// TestLedger fails when what a session costs is not what docs/capacity.md says. What
// it costs in all is looked up on the heap by TestIdleSessionCostsLittle.
func TestLedger(t *testing.T) {
	l := &loop{users: index{heads: make([]uint32, indexFloor)}}
	l.users.count = indexFloor * 3 / 4
	fullest := float64(unsafe.Sizeof(l.users.heads[0])) * indexFloor / float64(l.users.count) // see link
	want := map[string]int{
		"state":     int(unsafe.Sizeof(state{})),
		"index":     int(fullest+2*fullest) / 2, // it doubles when it is fullest
		"job":       int(unsafe.Sizeof(job{})),
		"change":    int(unsafe.Sizeof(change{})),
		"allowance": int(unsafe.Sizeof(allowance{})),
	}
	got := ledger(t, "session")
	if !maps.Equal(got, want) {
		t.Errorf("docs/capacity.md says %v, and it is %v", got, want)
	}
	edge := ledger(t, "edge")
	sum := edge["slot"] + edge["descriptor"] + got["state"] + got["index"]
	if all := ledger(t, "gateway")["session"]; all != sum || sum == 0 {
		t.Errorf("docs/capacity.md says %d in all, and its parts are %d", all, sum)
	}
}
