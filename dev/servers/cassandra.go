package servers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// cassandraValues is what cassandra.yaml leaves open.
type cassandraValues struct {
	Host, Seeds       string
	Port, StoragePort int
	Data              string
	KeyStore          string // file; empty: nothing is secured
	Site              bool   // see Config
}

// tokens divide the ring among the nodes of a cluster.
func tokens(n int) []string {
	if n == 1 {
		return []string{"0"}
	}
	return []string{"-9223372036854775808", "-3074457345618258603", "3074457345618258602"}
}

// cassandra plans n nodes. Cassandra names a node by its address alone, so they
// have an address each and share the ports.
func (p *planner) cassandra(n int) ([]*node, string) {
	values := cassandraValues{Port: p.port(), StoragePort: p.port(), Site: p.cfg.Site}
	if p.seal != nil {
		values.KeyStore = p.seal.server
	}
	var seeds, addrs []string
	for _, host := range hosts[:n] {
		seeds = append(seeds, address(host, values.StoragePort))
		addrs = append(addrs, address(host, values.Port))
	}
	values.Seeds = strings.Join(seeds, ",")
	var nodes []*node
	for i, name := range numbered("cassandra", n) {
		node, own := p.node(name), values
		own.Host, own.Data = hosts[i], node.path("data")
		node.command = p.cassandraCommand(node, tokens(n)[i])
		node.configure = func() error {
			return errors.Join(
				node.write("cassandra.yaml", "cassandra.yaml", own),
				node.write("logback.xml", "logback.xml", nil))
		}
		node.ready = func(ctx context.Context, first bool) error {
			err := askCassandra(ctx, addrs[i], n, first, p.cassandraLogin())
			if err == nil && first && p.seal != nil {
				err = p.refusesEverybody(ctx, addrs[i])
			}
			return err
		}
		if p.seal != nil && i == 0 {
			node.ready = p.cassandraUsers(addrs[0], n, node.ready)
		}
		nodes = append(nodes, node)
	}
	return nodes, "SWITCHBOARD_TEST_CQL=" + strings.Join(addrs, ",")
}

// cassandraCommand is the line that starts in 3.5 s what takes half a minute
// with the settings of a site.
func (p *planner) cassandraCommand(n *node, token string) []string {
	file := func(name string) string { return (&url.URL{Scheme: "file", Path: n.path(name)}).String() }
	return append(p.java(n,
		[]string{"-Xms128m", "-Xmx256m", "-XX:MaxDirectMemorySize=128m"},
		[]string{"-Xms1g", "-Xmx1g", "-Xmn400m", "-XX:MaxDirectMemorySize=512m"}),
		"-Xss512k", "-Dio.netty.maxDirectMemory="+strconv.Itoa(64<<20),
		"-Djava.net.preferIPv4Stack=true",
		"-Dcassandra.available_processors=2",
		// Nothing to wait for: all nodes are new, and each knows its place.
		"-Dcassandra.skip_wait_for_gossip_to_settle=0",
		"-Dcassandra.ring_delay_ms=1",
		"-Dcassandra.consistent.rangemovement=false",
		"-Dcassandra.initial_token="+token,
		"-Dcassandra.superuser_setup_delay_ms=0",
		// A login shall not take a quarter of a second.
		"-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4",
		// Without this it measures for two seconds how large a row is.
		"-Dcassandra.memtable.row_overhead_size=181",
		// What it needs of Java 17's modules.
		"--add-exports", "java.base/jdk.internal.misc=ALL-UNNAMED",
		"--add-exports", "java.base/jdk.internal.ref=ALL-UNNAMED",
		"--add-opens", "java.base/sun.nio.ch=ALL-UNNAMED",
		"--add-opens", "java.base/java.io=ALL-UNNAMED",
		"-Dcassandra.config="+file("cassandra.yaml"),
		"-Dlogback.configurationFile="+file("logback.xml"),
		"-Dcassandra.storagedir="+n.path("data"),
		"-Dcassandra-foreground=yes",
		"-cp", filepath.Join(p.software.cassandra, "*"),
		"org.apache.cassandra.service.CassandraDaemon",
	)
}

// askCassandra asks a node for its version and, when the cluster is new, for
// its n-1 neighbors: every node must know them.
func askCassandra(ctx context.Context, addr string, n int, first bool, login cqlLogin) error {
	c, err := dialCQL(ctx, addr, login)
	if err != nil {
		return err
	}
	defer c.close()
	rows, err := c.query("SELECT release_version FROM system.local")
	if err != nil {
		return err
	}
	if rows != 1 {
		return fmt.Errorf("it has %d rows about itself", rows)
	}
	if !first || n == 1 {
		return nil
	}
	if rows, err = c.query("SELECT release_version FROM system.peers"); err != nil {
		return err
	}
	if rows != n-1 {
		return fmt.Errorf("it knows %d of %d neighbors", rows, n-1)
	}
	return nil
}
