package servers

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/segmentio/kafka-go"
)

// planner plans the servers of one set.
type planner struct {
	// Fixed after construction.
	cfg      Config
	run      string
	software *software
	seal     *seal // nil: nothing is secured

	// Consumed while planning.
	ports []int
}

// port returns the next free port.
func (p *planner) port() int {
	port := p.ports[0]
	p.ports = p.ports[1:]
	return port
}

// node returns a server without what makes it one.
func (p *planner) node(name string) *node {
	n := &node{name: name, dir: filepath.Join(p.run, name), log: p.cfg.Log, mortal: p.cfg.Mortal}
	n.out = n.path(logFile)
	if p.cfg.Logs != "" {
		n.out = filepath.Join(p.cfg.Logs, name+".log")
	}
	if p.cfg.Started != nil {
		n.started = func(pid int) { p.cfg.Started(name, pid) }
	}
	return n
}

// java starts every command line of a server in Java. Heaps are small, and the
// second compiler takes longer than it saves in a test; a site has both. A JVM that
// ran out of memory must end: Kafka goes on half-dead otherwise. What libraries
// unpack, and would leave in /tmp when they are killed, stays in the server's own
// folder.
func (p *planner) java(n *node, heap, siteHeap []string) []string {
	line := []string{
		p.software.java, "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError",
		"-XX:-UsePerfData", "-Djava.io.tmpdir=" + n.dir, "-Djna.tmpdir=" + n.dir,
	}
	if p.cfg.Site {
		return append(line, siteHeap...)
	}
	return append(append(line, "-XX:TieredStopAtLevel=1"), heap...)
}

// checkpointFile is what Kafka calls its file of feature versions.
const checkpointFile = "bootstrap.checkpoint"

// kafkaProperties is what kafka.properties leaves open.
type kafkaProperties struct {
	ID                   int
	Voters               string
	Port, ControllerPort int
	Brokers, InSync      int // InSync acknowledge a record
	Data                 string

	// Of a secured set.
	InnerPort int    // for the brokers among themselves, and for us
	KeyStore  string // file; empty: nothing is secured
}

// kafka plans n brokers, each of which is a controller too.
func (p *planner) kafka(n int) ([]*node, string) {
	cluster := kafkaID()
	var all []kafkaProperties
	var voters, addrs []string
	for i := range n {
		props := kafkaProperties{ID: i + 1, Port: p.port(), ControllerPort: p.port(), Brokers: n, InSync: n/2 + 1}
		if p.seal != nil {
			props.InnerPort, props.KeyStore = p.port(), p.seal.server
		}
		all = append(all, props)
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", props.ID, props.ControllerPort))
		addrs = append(addrs, address("127.0.0.1", props.Port))
	}
	var nodes []*node
	for i, name := range numbered("kafka", n) {
		node, props := p.node(name), all[i]
		props.Voters, props.Data = strings.Join(voters, ","), node.path("data")
		node.command = append(p.java(node, []string{"-Xms64m", "-Xmx160m"}, []string{"-Xms512m", "-Xmx512m"}), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
			"-cp", filepath.Join(p.software.kafka, "*"), "kafka.Kafka", node.path("properties"))
		node.format = func(context.Context) error {
			return formatKafka(props, cluster, p.software.kafkaCheckpoint)
		}
		node.configure = func() error { return node.write("properties", "kafka.properties", props) }
		broker := kafkaBroker{addr: addrs[i], id: props.ID, brokers: n}
		node.ready = broker.ready
		if p.seal != nil {
			p.secureKafka(node, props, cluster, broker)
		}
		nodes = append(nodes, node)
	}
	return nodes, "SWITCHBOARD_TEST_KAFKA=" + strings.Join(addrs, ",")
}

// formatKafka writes what `kafka-storage format` writes.
func formatKafka(props kafkaProperties, cluster, checkpoint string) error {
	if err := os.MkdirAll(props.Data, 0o755); err != nil {
		return fmt.Errorf("format: %w", err)
	}
	text, err := os.ReadFile(checkpoint)
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	if err := write(filepath.Join(props.Data, checkpointFile), text); err != nil {
		return err
	}
	meta := fmt.Sprintf("version=1\ncluster.id=%s\nnode.id=%d\ndirectory.id=%s\n", cluster, props.ID, kafkaID())
	return write(filepath.Join(props.Data, "meta.properties"), []byte(meta))
}

// kafkaID returns a random id as Kafka writes them.
func kafkaID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id)       // never fails
	id[0] = id[0]&^0xfc | 0x10 // Kafka keeps small ones for itself, and an id must not begin with "-"
	return base64.RawURLEncoding.EncodeToString(id)
}

// kafkaBroker asks one broker.
type kafkaBroker struct {
	addr    string
	id      int
	brokers int
}

// ready asks for the broker itself in its answer to Metadata. A new cluster must
// be complete and is warmed: the first producer id and the first search for the
// coordinator of a group are refused until internal topics exist, and some
// clients take seconds to ask again.
func (k kafkaBroker) ready(ctx context.Context, first bool) error {
	// A new one each time, since it remembers answers.
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	addr := kafka.TCP(k.addr)
	client := &kafka.Client{Addr: addr, Transport: transport}
	answer, err := client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return fmt.Errorf("ask for metadata: %w", err)
	}
	if !k.listed(answer.Brokers) {
		return fmt.Errorf("broker %d is not in the cluster yet", k.id)
	}
	if !first {
		return nil
	}
	if len(answer.Brokers) < k.brokers {
		return fmt.Errorf("%d of %d brokers are there", len(answer.Brokers), k.brokers)
	}
	group, err := client.FindCoordinator(ctx, &kafka.FindCoordinatorRequest{Key: "warm", KeyType: kafka.CoordinatorKeyTypeConsumer})
	if err == nil {
		err = group.Error
	}
	if err != nil {
		return fmt.Errorf("find the coordinator of a group: %w", err)
	}
	producer, err := client.InitProducerID(ctx, &kafka.InitProducerIDRequest{})
	if err == nil {
		err = producer.Error
	}
	if err != nil {
		return fmt.Errorf("get a producer id: %w", err)
	}
	return nil
}

func (k kafkaBroker) listed(brokers []kafka.Broker) bool {
	for _, b := range brokers {
		if b.ID == k.id {
			return true
		}
	}
	return false
}
