package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"switchboard/internal/auth"
	"switchboard/internal/bus"
	kfake "switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	miniredis "switchboard/internal/presence/embedded"
)

func TestWrongFlagsAreRefused(t *testing.T) {
	good := []string{"-server", "gw-1", "-kafka", "127.0.0.1:1", "-redis", "127.0.0.1:1", "-auth-keys", "keys"}
	if _, _, err := parse(good, io.Discard); err != nil {
		t.Fatalf("good flags are refused: %v", err)
	}
	for _, bad := range [][]string{
		nil,
		{"-server", "GW 1"},
		{"-kafka", ""},
		{"-redis", ","},
		{"-auth-keys", ""},
		{"-heartbeat", "10ms"},
		{"-recheck", "0s"},
		{"-drain-timeout", "0s"},
		{"-max-connections", "-1"},
		{"-members", "1"},
		{"-members", "10001"},
		{"-partitions", "-1"},
		{"-generation", "0"},
		{"-proxy-protocol", "balancer"},
		{"-proxy-protocol", "10.0.0.0/8,10.1.2.3/8"},
		{"stray"},
	} {
		args := bad
		if bad != nil {
			args = append(append([]string(nil), good...), bad...)
		}
		if _, _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestMissingKeysEndTheProgram(t *testing.T) {
	err := run(t.Context(), []string{
		"-server", "gw-1", "-kafka", "127.0.0.1:1", "-redis", "127.0.0.1:1", "-ops-listen", "127.0.0.1:0",
		"-auth-keys", filepath.Join(t.TempDir(), "none"),
	}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "-auth-keys") {
		t.Errorf("run = %v, want an error that names the flag", err)
	}
}

// The whole program on port 0, with servers inside this process.
func TestProgramServesAndDrains(t *testing.T) {
	cluster, err := kfake.Start(kfake.Config{})
	must(t, err)
	defer cluster.Close()
	redis, err := miniredis.Start()
	must(t, err)
	defer redis.Close()
	keys := filepath.Join(t.TempDir(), "keys.json")
	must(t, auth.Generate(keys))

	logs := newAddressLog()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, []string{
			"-server", "gw-1", "-kafka", cluster.Addr(), "-redis", redis.Addr(), "-auth-keys", keys, "-replication", "1",
			"-listen", "127.0.0.1:0", "-ops-listen", "127.0.0.1:0", "-drain-timeout", "100ms",
			"-proxy-protocol", "127.0.0.0/8", "-log-level", "debug",
		}, logs)
	}()
	ops := logs.await(t, "ops listener is open")
	if got := status(t, ops, "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz is %d before the log is there, want 503", got)
	}
	makeTopics(t, cluster.Addr())
	public := logs.await(t, "gateway accepts")
	for status(t, ops, "/readyz") != http.StatusOK {
		select {
		case err := <-ended:
			t.Fatalf("the program ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	set, err := auth.Open(keys, "", "")
	must(t, err)
	token, err := set.Mint(chat.DemoUser("alice"), time.Hour)
	must(t, err)
	socket, response, err := dial(ctx, public, token)
	must(t, err)
	if response.Body != nil {
		defer response.Body.Close()
	}
	_, payload, err := socket.Read(ctx)
	if err != nil || !strings.Contains(string(payload), `"connected"`) {
		t.Fatalf("read %s, %v; want connected", payload, err)
	}
	if _, refused, err := dial(ctx, public, "no token"); err == nil || refused == nil || refused.StatusCode != http.StatusUnauthorized { //nolint:bodyclose // the library has closed it
		t.Errorf("no token: got %v, %v, want 401", refused, err)
	}
	if !logs.says(`program=gateway client=192.0.2.7:56324 reason=token`) {
		t.Errorf("the log does not say who was refused: %q", logs.lines)
	}
	cancel()
	if _, _, err := socket.Read(t.Context()); err != nil {
		t.Errorf("read %v, want reconnect", err)
	}
	if _, _, err := socket.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusCode(chat.CloseDraining) {
		t.Errorf("read %v, want 4001", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the program ended with %v", err)
	}
}

// dial connects as a balancer does that passes a client on.
func dial(ctx context.Context, address, token string) (*websocket.Conn, *http.Response, error) {
	passOn := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_, err = io.WriteString(conn, "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n")
		}
		return conn, err
	}
	return websocket.Dial(ctx, "ws://"+address+"/api/v1/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: passOn, DisableKeepAlives: true}},
	})
}

func makeTopics(t *testing.T, addr string) {
	client := kafka.Open(kafka.Config{Brokers: []string{addr}, ClientID: "migrate", Log: discard()})
	defer client.Close()
	_, err := client.Admin().Ensure(t.Context(), bus.Topics(bus.FirstGeneration, 4), 1)
	must(t, err)
}

func status(t *testing.T, ops, path string) int {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ops+path, nil)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	return response.StatusCode
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestGatewaysShareAPort(t *testing.T) {
	alone := &options{listen: "127.0.0.1:0", reusePort: true}
	first, err := alone.open(t.Context())
	must(t, err)
	defer first.Close()
	o := &options{listen: first.Addr().String(), reusePort: true}
	second, err := o.open(t.Context())
	must(t, err)
	defer second.Close()
	o.reusePort = false
	if third, err := o.open(t.Context()); err == nil {
		third.Close()
		t.Error("a gateway without -reuse-port got the port as well")
	}
}
