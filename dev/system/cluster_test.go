package system

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"switchboard/dev/soak"
)

// cluster is a `dev cluster` that runs.
type cluster struct {
	*soak.Site

	data string // folder
}

// newCluster starts `dev cluster` on an empty folder, until the test ends.
func newCluster(t *testing.T, args ...string) *cluster {
	t.Helper()
	if os.Getenv("SWITCHBOARD_TEST_SERVERS") == "" {
		t.Skip("SWITCHBOARD_TEST_SERVERS is not set: no real servers are started")
	}
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	// Nobody searches there: without it a start takes a JVM less.
	c, err := soak.StartCluster(t.Context(), program, data, t.Output(), append([]string{"-opensearch-nodes=0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	site, err := soak.OpenSite(data)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{site, data}
}

// common is the one cluster for all tests that leave a cluster as they found it: on
// two cores the start of another takes 20 s.
var common struct {
	mu      sync.Mutex
	process *soak.Cluster // nil: not started
	site    *soak.Site
	data    string
	page    string // HOST:PORT, whose pages may call
	said    screen
}

// commonCluster returns a cluster of two gateways, routers and workers, which the
// first caller starts and the end of all tests ends. Users, conversations and slots
// of gateways must be the test's own.
func commonCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("SWITCHBOARD_TEST_SERVERS") == "" {
		t.Skip("SWITCHBOARD_TEST_SERVERS is not set: no real servers are started")
	}
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	common.mu.Lock()
	defer common.mu.Unlock()
	before := len(common.said.String())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the cluster said:\n%s", common.said.String()[before:])
		}
	})
	if common.process == nil {
		if common.data == "" {
			if common.data, err = os.MkdirTemp("", "switchboard-system-"); err != nil {
				t.Fatal(err)
			}
		}
		common.page = freePorts(t, 1)[0]
		_, port, _ := net.SplitHostPort(common.page) // it is one
		t.Setenv("SWITCHBOARD_ORIGINS", "http://"+common.page+",http://localhost:"+port)
		// Not in the test's context, which ends with the test.
		common.process, err = soak.StartCluster(context.Background(), program, common.data, &common.said,
			"-gateways=2", "-routers=2", "-workers=2")
		if err != nil {
			t.Fatal(err)
		}
		if common.site, err = soak.OpenSite(common.data); err != nil {
			t.Fatal(err)
		}
	}
	return &cluster{common.site, common.data}
}

// endCommonCluster ends it, if it was started, and removes its data.
func endCommonCluster() error {
	if common.process == nil {
		return nil
	}
	return errors.Join(common.process.Stop(), os.RemoveAll(common.data))
}

// kills returns faults, each of which kills one program or server.
func (c *cluster) kills(names ...string) (faults []func(context.Context) error) {
	for _, name := range names {
		faults = append(faults, func(ctx context.Context) error { return c.Kill(ctx, name) })
	}
	return faults
}

// hurried leaves the system little rest after each fault: whether it recovers is
// seen at the end, how soon is for `dev soak` to say.
func hurried(faults []soak.Fault) []soak.Fault {
	for i := range faults {
		faults[i].Calm = 3 * time.Second
	}
	return faults
}

// Everything that a cluster of two of each has to survive, while 24 people with two
// devices each talk in pairs and in groups of 8, 100, 101 and 500, come and go, read
// and type, and PostgreSQL is away for a minute.
func TestClusterKeepsWhatItPromises(t *testing.T) {
	c := newCluster(t, "-gateways=2", "-routers=2", "-workers=2")
	const seed = 1
	judge(t, soak.Config{
		Site: c.Site, Seed: seed, People: 24, Rate: 30, Moves: time.Second,
		Outage: time.Minute, Warm: 5 * time.Second, Faults: hurried(c.Faults(seed)),
	})
}

// One of three brokers and one of three nodes die under load.
func TestClusterOfThreeLosesNothing(t *testing.T) {
	c := newCluster(t, "-gateways=1", "-routers=1", "-workers=2", "-kafka-brokers=3", "-cassandra-nodes=3")
	const seed = 1
	judge(t, soak.Config{
		Site: c.Site, Seed: seed, People: 40, Rate: 30, Moves: time.Second,
		Warm: 10 * time.Second, Faults: soak.Pick(c.Faults(seed), "kafka", "cassandra"),
	})
}
