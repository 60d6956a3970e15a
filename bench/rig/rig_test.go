package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test program is a gateway as far as a rig can tell, and a process with a rig.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "-listen":
		err = standIn(os.Args[1:])
	case len(os.Args) == 2 && os.Args[1] == "rig":
		err = hold()
	default:
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// heapOfOne is the heap that each gateway claims.
const heapOfOne = 1234

// standIn answers as a gateway's operators are answered.
func standIn(args []string) error {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	ops := flags.String("ops-listen", "", "")
	for _, name := range []string{"listen", "server", "kafka", "redis", "auth-keys", "replication", "heartbeat", "drain-timeout", "log-level"} {
		flags.String(name, "", "")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	return http.ListenAndServe(*ops, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			fmt.Fprintf(w, "go_memstats_heap_inuse_bytes %d\n", heapOfOne)
		}
	}))
}

// held is what a process with a rig has.
type held struct {
	Dir  string
	PIDs []int
}

// hold has a rig until a signal comes.
func hold() error {
	ctx, end := signal.NotifyContext(context.Background(), os.Interrupt)
	defer end()
	r, err := Start(ctx, Config{Program: os.Args[0], Gateways: 2, Log: io.Discard})
	if err != nil {
		return err
	}
	h := held{Dir: r.dir}
	for _, p := range r.Processes() {
		h.PIDs = append(h.PIDs, p.PID)
	}
	if err := json.NewEncoder(os.Stdout).Encode(h); err != nil {
		return err
	}
	<-ctx.Done()
	r.Close()
	return ctx.Err()
}

// gone says whether a process has ended. Whose parent does not ask stays as a name.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}

// However a benchmark ends, no gateway lives on, and no keys stay in a folder.
func TestNothingIsLeft(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(s.String(), func(t *testing.T) {
			command := exec.Command(os.Args[0], "rig")
			command.Stderr = t.Output()
			stdout, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = command.Process.Kill() })
			var h held
			if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&h); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				for _, pid := range h.PIDs {
					_ = syscall.Kill(pid, syscall.SIGKILL) // They are gone.
				}
				_ = os.RemoveAll(h.Dir)
			})
			if keys, err := os.ReadDir(h.Dir); err != nil || len(keys) == 0 || len(h.PIDs) != 2 {
				t.Fatalf("got %+v, %v in its folder, %v", h, keys, err)
			}
			if err := command.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			_ = command.Wait() // It says how it ended, which is known.
			left := func() (all []string) {
				for _, pid := range h.PIDs {
					if !gone(pid) {
						all = append(all, fmt.Sprint("process ", pid))
					}
				}
				if _, err := os.Stat(h.Dir); !errors.Is(err, fs.ErrNotExist) {
					all = append(all, h.Dir)
				}
				return all
			}
			for range 300 { // Of a process that was killed the rest is told by the kernel.
				if len(left()) == 0 {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			t.Errorf("left: %v", left())
		})
	}
}

func TestTheHeapIsThatOfAllGatewaysThatRun(t *testing.T) {
	r, err := Start(t.Context(), Config{Program: os.Args[0], Gateways: 3, Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if heap, err := r.Heap(t.Context()); err != nil || heap != 3*heapOfOne {
		t.Errorf("got %d bytes, %v", heap, err)
	}
	if err := r.Signal(0, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.Ended(0)
	if heap, err := r.Heap(t.Context()); err != nil || heap != 2*heapOfOne {
		t.Errorf("got %d bytes of two, %v", heap, err)
	}
	if heap, err := Elsewhere(nil, "", nil).Heap(t.Context()); err != nil || heap != 0 {
		t.Errorf("got %d bytes of what is elsewhere, %v", heap, err)
	}
}
