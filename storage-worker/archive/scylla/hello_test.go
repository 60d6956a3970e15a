package scylla

import (
	"errors"
	"testing"
)

func TestARefusalIsOneLineWithItsReason(t *testing.T) {
	const talk = "gocql: unable to create session: unable to connect to the cluster, last error: unable to create control connection: unable to connect to initial hosts: "
	for _, tt := range []struct {
		name, said string
		encrypted  bool
		want       string
	}{
		{"wrong password", talk + "Provided username app and/or password are incorrect\n", true, "no host takes us: Provided username app and/or password are incorrect"},
		{"no TLS", talk + "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", false, "no host takes us: read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer (does it expect TLS?)"},
		{"no TLS, more quietly", talk + "EOF", false, "no host takes us: EOF (does it expect TLS?)"},
		{"reset with TLS", talk + "connection reset by peer", true, "no host takes us: connection reset by peer"},
		{"anything else", "gocql: no hosts provided", false, "gocql: no hosts provided"},
	} {
		if got := refusal(errors.New(tt.said), tt.encrypted).Error(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
