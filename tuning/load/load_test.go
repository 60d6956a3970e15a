package load

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestWishesThatAreNone(t *testing.T) {
	for name, spoil := range map[string]func(w *Wish){
		"no role":          func(w *Wish) { w.Role = "" },
		"no connections":   func(w *Wish) { w.Connections = 0 },
		"too many":         func(w *Wish) { w.Connections = maxConnections + 1 },
		"no process":       func(w *Wish) { w.Processes = 0 },
		"no source":        func(w *Wish) { w.Sources = 0 },
		"no destination":   func(w *Wish) { w.Destinations = 0 },
		"less than nobody": func(w *Wish) { w.Slow = -0.1 },
		"more than all":    func(w *Wish) { w.Slow = 1.1 },
		"no number":        func(w *Wish) { w.Slow = math.NaN() },
	} {
		w := Default
		spoil(&w)
		if w.Check() == nil {
			t.Errorf("%s: %+v is accepted", name, w)
		}
	}
	if err := Default.Check(); err != nil {
		t.Error(err)
	}
}

func TestBytesEach(t *testing.T) {
	for _, tt := range []struct {
		role Role
		slow float64
		want int64
	}{
		{Gateway, 0, 253 + 4029},
		{Gateway, 0.01, 253 + 4029 + 897},
		{Gateway, 1, 253 + 4029 + 89709},
		{Balancer, 0, 19_500 + 2*4029},
	} {
		if got := (Wish{Role: tt.role, Slow: tt.slow}).BytesEach(); got != tt.want {
			t.Errorf("%s, %v slow: got %d, want %d", tt.role, tt.slow, got, tt.want)
		}
	}
}

// The costs are those that docs/capacity.md reckons with.
func TestCostsAreTheMeasuredOnes(t *testing.T) {
	text, err := os.ReadFile("../../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{"user_bytes": GatewayBytes, "kernel_bytes": KernelBytes, "idle_us": IdleMicroseconds, "slow_bytes": SlowBytes} {
		m := regexp.MustCompile("(?m)^\\| `" + name + "` \\| ([0-9.,]+) \\|").FindSubmatch(text)
		if m == nil {
			t.Fatalf("docs/capacity.md has no %s", name)
		}
		got, err := strconv.ParseFloat(strings.ReplaceAll(string(m[1]), ",", ""), 64)
		if err != nil || math.Abs(got-want) > want/100 {
			t.Errorf("%s: docs/capacity.md says %v, tuning reckons with %v", name, got, want)
		}
	}
}

func TestPerProcessIsRoundedUp(t *testing.T) {
	if got := (Wish{Connections: 10, Processes: 3}).PerProcess(); got != 4 {
		t.Errorf("got %d, want 4", got)
	}
}

func TestReserve(t *testing.T) {
	for memory, want := range map[int64]int64{2 << 30: 1 << 30, 100 << 30: 10 << 30} {
		if got := Reserve(memory); got != want {
			t.Errorf("of %d: got %d, want %d", memory, got, want)
		}
	}
}
