package servers

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// answering listens and gives each connection the same bytes, whatever it says.
func answering(t *testing.T, text string) string {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}

// cqlFrame is a response.
func cqlFrame(opcode byte, body string) string {
	head := []byte{cqlResponse, 0, 0, 0, opcode}
	return string(binary.BigEndian.AppendUint32(head, uint32(len(body)))) + body
}

func cqlRows(n byte) string {
	return cqlFrame(opResult, "\x00\x00\x00\x02\x00\x00\x00\x05\x00\x00\x00\x01\x00\x00\x00"+string(n))
}

func TestReadyMeansAnAnswerInTheProtocol(t *testing.T) {
	needServers(t)
	redis := func(ctx context.Context, addr string) error { return askRedis(ctx, addr, nil, "") }
	postgres := func(ctx context.Context, addr string) error { return askPostgres(ctx, addr, nil) }
	single := func(ctx context.Context, addr string) error { return askCassandra(ctx, addr, 1, true, cqlLogin{}) }
	triple := func(ctx context.Context, addr string) error { return askCassandra(ctx, addr, 3, true, cqlLogin{}) }
	back := func(ctx context.Context, addr string) error { return askCassandra(ctx, addr, 3, false, cqlLogin{}) }
	hello := cqlFrame(opReady, "")
	for _, c := range []struct {
		name   string
		ask    func(context.Context, string) error
		answer string
		want   string // "" = ready
	}{
		{"redis", redis, "+PONG\r\n", ""},
		{"redis loads", redis, "-LOADING Redis is loading the dataset in memory\r\n", `"-LOADIN"`},
		{"s3", askS3, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
		{"s3 starts", askS3, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "503"},
		{"s3 is Redis", askS3, "-ERR what?\r\n", "malformed"},
		{"postgres", postgres, "R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I", ""},
		{"postgres recovers", postgres, "E\x00\x00\x00\x0cS57P03\x00\x00", "57P03"},
		{"postgres is Redis", postgres, "-ERR what?\r\n", "no PostgreSQL"},
		{"cassandra", single, hello + cqlRows(1), ""},
		{"cassandra without itself", single, hello + cqlRows(0), "0 rows"},
		{"cassandra has all neighbors", triple, hello + cqlRows(1) + cqlRows(2), ""},
		{"cassandra lacks a neighbor", triple, hello + cqlRows(1) + cqlRows(1), "1 of 2"},
		{"cassandra is back before others", back, hello + cqlRows(1), ""},
		{"cassandra refuses", single, cqlFrame(opError, "\x00\x00\x10\x01\x00\x04busy"), "busy"},
		{"cassandra wants a password", single, cqlFrame(0x03, "\x00\x00"), "0x03"},
		{"cassandra is Redis", single, "-ERR what is this\r\n", "no CQL"},
		{"cassandra has more pages", single, hello + cqlFrame(opResult, "\x00\x00\x00\x02\x00\x00\x00\x06"+strings.Repeat("\x00", 8)), "flags 0x6"},
		{"cassandra sends half a result", single, hello + cqlFrame(opResult, "\x00\x00"), "unexpected EOF"},
		{"cassandra sends half an error", single, cqlFrame(opError, "\x00\x00\x10\x01\x00\x09busy"), "unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.ask(t.Context(), answering(t, c.answer))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("not ready: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// A server that listens and says nothing must not hold up a start.
func TestSilenceEnds(t *testing.T) {
	needServers(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := askRedis(ctx, answering(t, ""), nil, ""); err == nil {
		t.Error("silence is taken for an answer")
	}
}
