package edge

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestBehindHAProxy has the headers made by the one who invented them.
func TestBehindHAProxy(t *testing.T) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("needs HAProxy: apt-get install haproxy")
	}
	for name, tt := range map[string]struct{ mode, options string }{
		"version 1":              {"tcp", "send-proxy"},
		"version 2":              {"tcp", "send-proxy-v2"},
		"version 2, with values": {"tcp", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"},
		"version 2, in HTTP":     {"http", "send-proxy-v2"},
	} {
		t.Run(name, func(t *testing.T) {
			clients := make(chan netip.AddrPort, 1)
			s := behind(t, clients, nil)
			port := haproxy(t, program, fmt.Sprintf(`
defaults
    mode %s
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse never
frontend chat
    bind fd@3
    unique-id-format %%{+X}o%%ci:%%cp
    default_backend gateways
backend gateways
    server gw-1 %s check inter 10ms %s
`, tt.mode, s.Addr(), tt.options))
			conn, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			send(t, conn, goodRequest)
			readUntil(t, conn, "\r\n\r\n")
			send(t, conn, frame(0x81, "through"))
			expect(t, conn, text("through"))
			if got, want := <-clients, netip.MustParseAddrPort(conn.LocalAddr().String()); got != want {
				t.Errorf("the client is %v, want %v", got, want)
			}
			if got := s.meter.set.Counter(`switchboard_gateway_handshake_failures_total{reason="proxy"}`).Get(); got != 0 {
				t.Errorf("%d connections had no header", got)
			}
		})
	}
}

// haproxy runs HAProxy until the test ends and returns the port of its frontend.
func haproxy(t *testing.T, program, config string) (port int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	shared, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "-db", "-f", file)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{shared}, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("HAProxy said %s", &said)
		}
	})
	return listener.Addr().(*net.TCPAddr).Port
}

// readUntil reads up to the end of a text.
func readUntil(t *testing.T, conn net.Conn, end string) {
	t.Helper()
	var got []byte
	for one := make([]byte, 1); !bytes.HasSuffix(got, []byte(end)); got = append(got, one...) {
		if _, err := conn.Read(one); err != nil {
			t.Fatalf("read %q: %v", got, err)
		}
	}
}
