package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// program is set where this binary is to be the gateway and no test.
const program = "SWITCHBOARD_GATEWAY_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(program) != "" {
		main()
	}
	goleak.VerifyTestMain(m,
		// Keep-alive connections of the tests' own HTTP client.
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"))
}
