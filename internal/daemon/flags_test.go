package daemon

import (
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// testFlags returns flags of a program whose environment is env.
func testFlags(env map[string]string) *Flags {
	f := NewFlags("gateway", "\ngateway holds the sockets.\n")
	f.lookup = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	return f
}

func TestEnvironmentThenCommandLine(t *testing.T) {
	env := map[string]string{
		"SWITCHBOARD_DRAIN_TIMEOUT": "7s",
		"SWITCHBOARD_KAFKA":         "a:9092, b:9092,,",
		"SWITCHBOARD_SERVER":        "",
		"SWITCHBOARD_VERSION":       "true", // of some deployment script, not our flag
	}
	f := testFlags(env)
	drain := f.Duration("drain-timeout", time.Second, "how long")
	heartbeat := f.Duration("heartbeat", 30*time.Second, "how often")
	server := f.String("server", "gw-1", "name")
	kafka := f.List("kafka", "brokers")
	if err := f.Parse([]string{"-heartbeat", "5s"}); err != nil {
		t.Fatal(err)
	}
	if *drain != 7*time.Second || *heartbeat != 5*time.Second {
		t.Errorf("got drain %v, heartbeat %v, want 7s, 5s", *drain, *heartbeat)
	}
	if *server != "gw-1" {
		t.Errorf("an empty variable must count as absent: got %q, want gw-1", *server)
	}
	if want := []string{"a:9092", "b:9092"}; !slices.Equal(*kafka, want) {
		t.Errorf("kafka: got %q, want %q", *kafka, want)
	}
}

func TestCommandLineReplacesListOfEnvironment(t *testing.T) {
	f := testFlags(map[string]string{"SWITCHBOARD_KAFKA": "a:1,b:2"})
	kafka := f.List("kafka", "brokers")
	if err := f.Parse([]string{"-kafka=c:3"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"c:3"}; !slices.Equal(*kafka, want) {
		t.Errorf("got %q, want %q", *kafka, want)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"unknown flag", nil, []string{"-nope"}, "-nope"},
		{"bad value", nil, []string{"-heartbeat", "soon"}, "soon"},
		{"bad value in the environment", map[string]string{"SWITCHBOARD_HEARTBEAT": "soon"}, nil, "SWITCHBOARD_HEARTBEAT"},
		{"leftover argument", nil, []string{"-heartbeat", "1s", "gw-1"}, `"gw-1"`},
		{"unknown level", nil, []string{"-log-level", "loud"}, "loud"},
		{"unknown format", nil, []string{"-log-format", "xml"}, "text or json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := testFlags(tt.env)
			f.Duration("heartbeat", time.Second, "how often")
			err := f.Parse(tt.args)
			if _, ok := errors.AsType[*usageError](err); !ok {
				t.Fatalf("got %v, want a usage error", err)
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with %q", err, tt.want)
			}
		})
	}
}

// text parses args and returns what Main would print.
func text(t *testing.T, f *Flags, args ...string) string {
	t.Helper()
	var a *answer
	if err := f.Parse(args); !errors.As(err, &a) {
		t.Fatalf("Parse(%q): got %v, want a text", args, err)
	}
	return a.text
}

func TestHelpIsTheManual(t *testing.T) {
	f := testFlags(nil)
	f.String("ops-listen", "127.0.0.1:9100", "`ADDRESS` of health and metrics")
	f.Bool("quiet", false, "say less")
	got := text(t, f, "-help")
	for _, want := range []string{
		"gateway holds the sockets.\n\n",
		"-ops-listen ADDRESS  (default 127.0.0.1:9100)  [SWITCHBOARD_OPS_LISTEN]\n        ADDRESS of health and metrics\n",
		"-quiet  [SWITCHBOARD_QUIET]\n",
		"-log-level LEVEL  (default INFO)  [SWITCHBOARD_LOG_LEVEL]\n",
		"-version\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the manual lacks %q:\n%s", want, got)
		}
	}
}

func TestVersionNamesGo(t *testing.T) {
	got := text(t, testFlags(nil), "-version")
	if !strings.HasPrefix(got, "gateway ") || !strings.Contains(got, "commit ") || !strings.Contains(got, " go1.") {
		t.Errorf("got %q, want version, commit and Go version", got)
	}
}

func TestLogger(t *testing.T) {
	f := testFlags(map[string]string{"SWITCHBOARD_LOG_LEVEL": "warn"})
	if err := f.Parse([]string{"-log-format", "json"}); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	log := f.Logger(&out)
	log.Info("not shown")
	log.Warn("shown", "part", "kafka")
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	if got["msg"] != "shown" || got["program"] != "gateway" || got["part"] != "kafka" {
		t.Errorf("got %v", got)
	}
	if plain := testFlags(nil).Logger(&out); !plain.Enabled(t.Context(), slog.LevelInfo) || plain.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("the default level is not info")
	}
}
