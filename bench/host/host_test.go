package host

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestOwnMemoryAndTimeAreReadable(t *testing.T) {
	if pss, err := PSS(os.Getpid()); err != nil || pss < 1<<20 {
		t.Errorf("got %d bytes, %v", pss, err)
	}
	m, err := MemoryOf(os.Getpid())
	if err != nil || m.Anonymous < 1<<19 || m.Anonymous >= m.PSS {
		t.Errorf("got %+v, %v, want some memory that is no file's and some that is", m, err)
	}
	if _, err := PSS(-1); err == nil {
		t.Error("a process that is not there has memory")
	}
	if here, gone := Resident(os.Getpid()), Resident(-1); here < 1<<20 || gone != 0 {
		t.Errorf("got %d bytes in RAM, and %d of nobody", here, gone)
	}
	if h := Describe(); h.Kernel == "" || h.Cores < 1 || h.Load == "" {
		t.Errorf("got %+v", h)
	}
}

// What one end of a connection wrote and the other does not read is the kernel's.
func TestMemoryOfSocketsIsWhatNobodyReads(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := uint16(listener.Addr().(*net.TCPAddr).Port)
	var dialer net.Dialer
	client, err := dialer.DialContext(context.Background(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if m, err := MemoryOfSockets([]uint16{port}); err != nil || m != (SocketMemory{Sockets: 1}) {
		t.Errorf("got %+v, %v, want one socket with nothing in it", m, err)
	}
	if err := server.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	wrote, _ := io.CopyN(server, zeros{}, 64<<20) // until there is no more room
	m, err := MemoryOfSockets([]uint16{port})
	if err != nil || m.Sockets != 1 || m.Bytes < 4096 || m.Bytes != m.Most || m.Bytes > 2*wrote+1<<20 {
		t.Errorf("got %+v, %v, after %d bytes that nobody reads", m, err, wrote)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
