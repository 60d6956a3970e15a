package edge

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
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

// TestLedger fails when what a connection costs here is not what docs/capacity.md says.
func TestLedger(t *testing.T) {
	want := map[string]int{
		"slot":       int(unsafe.Sizeof(slot{})),
		"descriptor": int(unsafe.Sizeof(atomic.Uint32{})),
		"extra":      int(unsafe.Sizeof(extra{})),
		"buffer":     1 << smallestBuffer,
		"chunk":      int(unsafe.Sizeof(chunk{})),
	}
	if got := ledger(t, "edge"); !maps.Equal(got, want) {
		t.Errorf("docs/capacity.md says %v, and it is %v", got, want)
	}
}

// TestLedgerOfTheKernel reads how large the kernel's objects are, where it is the
// kernel that docs/capacity.md speaks of and lets us.
func TestLedgerOfTheKernel(t *testing.T) {
	rows := ledger(t, "kernel")
	all, sum := rows["all"], 0
	delete(rows, "all")
	for _, bytes := range rows {
		sum += bytes
	}
	if len(rows) == 0 || all != sum {
		t.Errorf("docs/capacity.md says that the kernel takes %d, and its %d objects are %d", all, len(rows), sum)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	if release := unix.ByteSliceToString(name.Release[:]); !strings.HasPrefix(release, "6.18.44-fc") {
		t.Skipf("the table is of the kernel 6.18.44-fc, and this is %s", release)
	}
	for cache, want := range rows {
		objects, err := slabNumber(cache, "objs_per_slab")
		if err != nil {
			t.Skipf("needs root and a kernel with SLUB's directory: %v", err)
		}
		order, err := slabNumber(cache, "order")
		if err != nil {
			t.Fatal(err)
		}
		if got := (os.Getpagesize()<<order + objects/2) / objects; got != want {
			t.Errorf("%s: an object takes %d bytes, and docs/capacity.md says %d", cache, got, want)
		}
	}
}

// slabNumber reads what the kernel says of a cache of objects.
func slabNumber(cache, what string) (n int, err error) {
	text, err := os.ReadFile(filepath.Join("/sys/kernel/slab", cache, what))
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(string(text), &n)
	return n, err
}
