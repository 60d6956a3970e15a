package scylla

import "context"

const (
	// spread is how many requests of a Write a node gets before any of them has
	// more than one partition, where a row is acknowledged before the commit log
	// is on disk; spreadSynced where each waits for that.
	spread, spreadSynced = 2, 8
	// bundlePartitions and bundleBytes bound what goes to one node as one request.
	// Cassandra warns of an unlogged batch of more than 10 partitions, logs each
	// one of more than 5 KiB and refuses 50 KiB; the bytes are an estimate.
	bundlePartitions = 10
	bundleBytes      = 3 << 10
	// smallBytes is about what a write has that is no row of history.
	smallBytes = 150
)

// bundled joins chains that have a node in common into fewer requests. Most of
// what a small write costs a node is not the row but the request around it: to
// read it, to hand it between threads, to answer. A message to eight people has
// some dozen rows in as many partitions, and so has each message of a batch.
//
// A batch over partitions has a bad name because its coordinator has to pass on
// what is not its own. Here all of it is: nodeOf names the first replica of a
// write, which is where the driver sends a batch that begins with it. Each
// partition is still written by itself, whole; together they have no order and
// fail or succeed one by one, which is all that a plan asks for.
//
// What it costs is time: Cassandra writes the partitions of a batch one after
// another, and with `commitlog_sync: group` or `batch` each waits for the disk. So
// little is joined while there is little to write, and a message by itself waits
// for one sync, or two; requests grow when a batch has more than spread partitions
// on a node, which is when it is the node's work that everybody waits for.
//
// Chains of several mutations have an order and stay as they are, and so do
// large ones and those whose node is unknown: nodeOf returns "".
func bundled(chains []chain, spread int, nodeOf func(*write) string) []chain {
	nodes, most := make([]string, len(chains)), make(map[string]int)
	for i, c := range chains {
		if len(c.mutations) == 1 && c.mutations[0].estimate() <= bundleBytes {
			nodes[i] = nodeOf(&c.mutations[0].writes[0])
			most[nodes[i]]++
		}
	}
	for node, n := range most {
		most[node] = min((n+spread-1)/spread, bundlePartitions)
	}
	open := make(map[string]int) // where the bundle of a node is that has room
	partitions := make(map[string]int)
	kept := chains[:0]
	for i, c := range chains {
		node := nodes[i]
		if node == "" {
			kept = append(kept, c)
			continue
		}
		if at, ok := open[node]; ok && partitions[node] < most[node] && kept[at].joins(&c) {
			partitions[node]++
			continue
		}
		open[node], partitions[node] = len(kept), 1
		kept = append(kept, c)
	}
	return kept
}

// joins takes another chain's only mutation into the only one of c, if there is
// room. What contains more than watermarks does not go on their lane.
func (c *chain) joins(other *chain) bool {
	m, more := &c.mutations[0], &other.mutations[0]
	if len(m.writes)+len(more.writes) > batchStatements || m.estimate()+more.estimate() > bundleBytes {
		return false
	}
	m.writes, m.bytes = append(m.writes, more.writes...), m.bytes+more.bytes
	c.marks = c.marks && other.marks
	return true
}

// estimate is about how many bytes the mutation has in a node's memory.
func (m *mutation) estimate() int {
	total := 0
	for i := range m.writes {
		total += max(m.writes[i].bytes, smallBytes)
	}
	return total
}

// nodeOf returns the id of the node that is the first replica of what w writes.
// With Scylla it answers "": there the driver knows the processor as well, and
// what is bundled would have to be passed on between processors.
func (s *Store) nodeOf(w *write) string {
	query := s.session.Session.Query(w.text, w.values...)
	defer query.Release()
	next := s.nodes.HostSelectionPolicy.Pick(query) // Not a choice: it must not count as a trial.
	if next == nil {
		return ""
	}
	selected := next()
	if selected == nil || selected.Info() == nil || selected.Info().ScyllaShardCount() > 0 {
		return ""
	}
	return selected.Info().HostID()
}

// spreadOf asks the cluster whether rows wait for the disk. The node that answers
// speaks for all; where nothing is known, they are taken to wait: Scylla, whose
// rows are not bundled, and versions and users that may not look.
func (s *Store) spreadOf(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var sync string
	err := s.session.Session.Query("SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'").WithContext(ctx).Scan(&sync)
	if err == nil && sync == "periodic" {
		return spread
	}
	return spreadSynced
}
