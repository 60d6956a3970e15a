package servers

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"

	"github.com/segmentio/kafka-go"
)

// secureKafka turns a broker into a secured one: two users, what they may, and
// a second listener without either, by which the brokers talk among themselves
// and we ask whether they are ready.
func (p *planner) secureKafka(n *node, props kafkaProperties, cluster string, broker kafkaBroker) {
	client := broker.addr
	broker.addr = address("127.0.0.1", props.InnerPort)
	n.format = func(ctx context.Context) error {
		// Users are in what a new cluster begins with, in a form of Kafka's own.
		if err := n.configure(); err != nil {
			return err
		}
		args := append(p.java(n, []string{"-Xmx96m"}, []string{"-Xmx96m"}), "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
			"-cp", filepath.Join(p.software.kafka, "*"), "kafka.tools.StorageTool", "format",
			"-t", cluster, "-c", n.path("properties"))
		for user, file := range map[string]string{secureUser: p.seal.files.Kafka, guestUser: p.seal.files.KafkaGuest} {
			args = append(args, "--add-scram", fmt.Sprintf("SCRAM-SHA-512=[name=%s,password=%s]", user, p.seal.password(file)))
		}
		return run(ctx, n.dir, args...)
	}
	n.ready = func(ctx context.Context, first bool) error {
		if err := broker.ready(ctx, first); err != nil {
			return err
		}
		if first && props.ID == 1 {
			if err := allow(ctx, broker.addr); err != nil {
				return err
			}
		}
		return askTLS(ctx, client, p.seal.tls)
	}
}

// allow gives the user of programs what programs do. It may be repeated.
func allow(ctx context.Context, addr string) error {
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(addr), Transport: transport}
	request := &kafka.CreateACLsRequest{}
	for _, kind := range []kafka.ResourceType{kafka.ResourceTypeTopic, kafka.ResourceTypeGroup} {
		request.ACLs = append(request.ACLs, kafka.ACLEntry{
			Principal: "User:" + secureUser, PermissionType: kafka.ACLPermissionTypeAllow, Operation: kafka.ACLOperationTypeAll,
			ResourceType: kind, ResourceName: "*", ResourcePatternType: kafka.PatternTypeLiteral, Host: "*",
		})
	}
	answer, err := client.CreateACLs(ctx, request)
	if err != nil {
		return fmt.Errorf("allow %s to work: %w", secureUser, err)
	}
	for _, err := range answer.Errors {
		if err != nil {
			return fmt.Errorf("allow %s to work: %w", secureUser, err)
		}
	}
	return nil
}

// askTLS looks whether a port speaks TLS with our certificate.
func askTLS(ctx context.Context, addr string, config *tls.Config) error {
	conn, err := dialTLS(ctx, addr, config)
	if err != nil {
		return err
	}
	return conn.Close()
}
