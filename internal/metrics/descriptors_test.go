package metrics

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// openMany opens so many descriptors until the test ends.
func openMany(t *testing.T, n int) {
	t.Helper()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	for range n {
		fd, err := syscall.Dup(int(file.Fd()))
		if err != nil {
			t.Skipf("needs %d descriptors: %v", n, err)
		}
		t.Cleanup(func() { syscall.Close(fd) })
	}
}

// By its size and by counting a directory of descriptors has as many.
func TestDescriptorsAreCounted(t *testing.T) {
	before, ok := countDescriptors()
	if !ok || before < 3 {
		t.Fatalf("got %d descriptors, %v", before, ok)
	}
	const more = 1000
	openMany(t, more)
	counted, ok := countDescriptors()
	if want := before + more + 1; !ok || counted != want {
		t.Errorf("counted %d descriptors, %v, want %d", counted, ok, want)
	}
	asked, ok := openDescriptors()
	if !ok || asked != counted {
		t.Errorf("asked for, there are %d descriptors, %v, want %d", asked, ok, counted)
	}
	var out bytes.Buffer
	writeDescriptors(&out)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("process_open_fds %d\n", counted), fmt.Sprintf("process_max_fds %d\n", limit.Cur)} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
}

// Whoever looks at a gateway leaves no garbage for each of its connections.
func TestLookingCostsNothingForEachDescriptor(t *testing.T) {
	cost := func() uint64 {
		var out bytes.Buffer
		var before, after runtime.MemStats
		New().Write(&out) // The first time costs more.
		runtime.ReadMemStats(&before)
		New().Write(&out)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	const more = 2000
	few := cost()
	openMany(t, more)
	if many := cost(); many > few+more*4 {
		t.Errorf("it costs %d bytes, and with %d descriptors more %d", few, more, many)
	}
}
