package load

import (
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPlansThatDoNotFitNameTheLimit(t *testing.T) {
	roomy := Limits{Descriptors: 20000, Files: 1 << 30, Watches: 1 << 30, Ports: 28232, Available: 1 << 40}
	for name, tt := range map[string]struct {
		shape  Shape
		change func(l *Limits)
		want   string // in the refusal; empty: it fits
	}{
		"16,000 over two gateways": {Shape{Connections: 16000, Gateways: 2, Places: 2}, func(*Limits) {}, ""},
		"a million over 52":        {Shape{Connections: 1e6, Gateways: 52, Places: 52}, func(*Limits) {}, ""},
		"too many for a gateway":   {Shape{Connections: 40000, Gateways: 2, Places: 2}, func(*Limits) {}, "2 gateways are 20000 descriptors in each: RLIMIT_NOFILE is 20000"},
		"too many for a worker":    {Shape{Connections: 20000, Gateways: 2, Places: 2, Workers: 1}, func(*Limits) {}, "1 workers are 20000 descriptors in each: RLIMIT_NOFILE"},
		"too few ports":            {Shape{Connections: 60000, Places: 1, Sources: 2}, func(*Limits) {}, "net.ipv4.ip_local_port_range"},
		"enough of them":           {Shape{Connections: 60000, Places: 1, Sources: 3}, func(*Limits) {}, ""},
		"too few files":            {Shape{Connections: 8000, Gateways: 1, Places: 1}, func(l *Limits) { l.Files = 15999 }, "fs.file-max"},
		"files of one end":         {Shape{Connections: 8000, Places: 1}, func(l *Limits) { l.Files = 15999 }, ""},
		"too few watches":          {Shape{Connections: 8000, Gateways: 1, Places: 1}, func(l *Limits) { l.Watches = 15999 }, "fs.epoll.max_user_watches"},
		"too little memory":        {Shape{Connections: 1e6, Gateways: 52, Places: 52}, func(l *Limits) { l.Available = 10 << 30 }, "MemAvailable is 10240 MB"},
		"no descriptors at all":    {Shape{Connections: 1, Places: 1}, func(l *Limits) { l.Descriptors = 64 }, "RLIMIT_NOFILE"},
	} {
		l := roomy
		tt.change(&l)
		err := tt.shape.Fit(l)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: got %v", name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, want %q in it", name, err, tt.want)
		}
	}
	s := Shape{Connections: 1e6, Gateways: 52, Places: 52}
	if err := s.Fit(roomy); err != nil || s.Workers != 51 || s.Sources != 2 {
		t.Errorf("got %+v, %v", s, err)
	}
}

// What a run is refused by is what docs/capacity.md says that a connection was
// measured with.
func TestBytesAreTheMeasuredOnes(t *testing.T) {
	text, err := os.ReadFile("../../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	measured := make(map[string]float64)
	for _, m := range regexp.MustCompile("(?m)^\\| `(kernel_bytes|user_bytes)` \\| ([0-9,]+) \\|").FindAllStringSubmatch(string(text), -1) {
		if measured[m[1]], err = strconv.ParseFloat(strings.ReplaceAll(m[2], ",", ""), 64); err != nil {
			t.Fatal(err)
		}
	}
	if both := 2 * measured["kernel_bytes"]; both == 0 || math.Abs(kernelBytes-both) > both/100 {
		t.Errorf("docs/capacity.md says %v of the kernel for two ends, a run is reckoned with %d", both, kernelBytes)
	}
	if one := measured["user_bytes"]; one == 0 || one > gatewayBytes {
		t.Errorf("docs/capacity.md says %v of the gateway, which is more than %d", one, gatewayBytes)
	}
}

// A worker asks its own host, which no coordinator has seen.
func TestAWorkerRefusesWhatItsHostDoesNotHold(t *testing.T) {
	roomy := Limits{Descriptors: 20000, Files: 1 << 30, Watches: 1 << 30, Ports: 28232, Available: 1 << 40}
	plan := Plan{Slots: 19000, Gateways: []string{"10.0.0.7:8081"}, Sources: []string{"0.0.0.0"}}
	for limit, change := range map[string]func(l *Limits){
		"":                             func(*Limits) {},
		"RLIMIT_NOFILE":                func(l *Limits) { l.Descriptors = 19000 },
		"net.ipv4.ip_local_port_range": func(l *Limits) { l.Ports = 20000 },
		"fs.file-max":                  func(l *Limits) { l.Files = 18999 },
		"fs.epoll.max_user_watches":    func(l *Limits) { l.Watches = 18999 },
		"MemAvailable":                 func(l *Limits) { l.Available = 64 << 20 },
	} {
		l := roomy
		change(&l)
		if err := plan.fit(l); (err != nil) != (limit != "") || err != nil && !strings.Contains(err.Error(), limit) {
			t.Errorf("got %v, want %q in it", err, limit)
		}
	}
}

func TestThisHostHasLimits(t *testing.T) {
	l := Host()
	if l.Descriptors < 64 || l.Files < 1 || l.Ports < 1 || l.Available < 1<<20 {
		t.Errorf("got %+v", l)
	}
}

func TestSourcesDiffer(t *testing.T) {
	all := Loopback(600)
	slices.Sort(all)
	if len(slices.Compact(all)) != 600 || !slices.Contains(all, "127.0.0.1") || slices.Contains(all, "127.0.0.0") {
		t.Errorf("got %v", all[:3])
	}
}

func TestBackoffIsTheProtocols(t *testing.T) {
	for tries := range 40 {
		for range 50 {
			if got := backoff(tries); got < 0 || got > time.Duration(min(1<<min(tries, 5), 30))*time.Second {
				t.Fatalf("after %d tries: %v", tries, got)
			}
		}
	}
}
