package main

import (
	"context"
	"io"
	"os"

	"switchboard/dev/cluster"
	"switchboard/internal/daemon"
)

const clusterManual = `cluster runs a whole site on this machine: real Kafka, Cassandra, Redis,
PostgreSQL and OpenSearch, and gateways, routers and storage workers as processes of
their own.
It prints where everything is and then, on a line of its own,

	ready

Whatever dies is started again after a second, programs and servers alike; logs say
when. It builds the programs, so it needs a checkout and Go; for the servers it needs
what "dev servers" needs. SIGINT or SIGTERM stops all that it started, and only that.

	DATA/run/addresses.json   where everything listens, written when all is ready:
	                          {"rest":[…],"ws":[…],"ops":{NAME:…},"kafka":…,"cql":…,
	                          "redis":…,"postgres":…,"s3":…,"opensearch":…,
	                          "auth_keys":FILE}, with -secure
	                          also "secure":{"ca":FILE,"kafka_credentials":FILE,
	                          "cql_credentials":FILE,"redis_credentials":FILE,
	                          "postgres_password":FILE}; "s3" and "opensearch"
	                          are there only without it
	DATA/run/NAME.pid         process ids: gateway-1…, router-1…, worker-1…, kafka,
	                          cassandra, redis, postgres, s3, opensearch; kafka-1… and cassandra-1…
	                          where there are three. After a kill it changes with the
	                          next start
	DATA/run/NAME.hold        make it, and NAME is not started again until it goes
	DATA/logs/NAME.log        what it says; grows without limit

Data and addresses survive the end of the cluster, kill -9 included; Redis alone
starts empty. Servers that DATA has not begin empty in it, and an empty search index
is filled from the log. Delete DATA to begin anew, as other numbers of brokers, nodes
or partitions need, fewer servers, or another -secure. OpenSearch and the S3 server are without TLS and passwords: with
-secure the workers share a search index in DATA instead, and there is no media.

Variables SWITCHBOARD_… reach the programs where this command sets no flag itself:
SWITCHBOARD_RECHECK=10s, SWITCHBOARD_LOG_LEVEL=debug. GOFLAGS=-race builds them with
the race detector.`

// runCluster keeps a cluster running until the end.
func runCluster(ctx context.Context, args []string, stdout io.Writer) error {
	var cfg cluster.Config
	flags := daemon.NewFlags("dev cluster", clusterManual)
	flags.IntVar(&cfg.Gateways, "gateways", 2, "how many, up to 9")
	flags.IntVar(&cfg.Routers, "routers", 1, "how many, up to 9")
	flags.IntVar(&cfg.Workers, "workers", 2, "how many, up to 9")
	flags.StringVar(&cfg.Data, "data", ".switchboard-cluster", "`FOLDER` that holds everything")
	flags.StringVar(&cfg.AuthKeys, "auth-keys", "", "`FILE` with a JWK set; without it, the cluster makes a key in DATA")
	flags.StringVar(&cfg.Cache, "cache", "", "`FOLDER` of the servers' jars; without it, .cache/servers of the checkout")
	flags.IntVar(&cfg.Kafka, "kafka-brokers", 1, "how many, 1 or 3; also the number of replicas")
	flags.IntVar(&cfg.Cassandra, "cassandra-nodes", 1, "how many, 1 or 3; also the number of replicas")
	flags.IntVar(&cfg.OpenSearch, "opensearch-nodes", 1, "how many, 0 or 1; with 0 the workers share a search index in DATA")
	flags.BoolVar(&cfg.Secure, "secure", false, "servers with passwords and TLS; for the life of DATA")
	flags.BoolVar(&cfg.Site, "site", false, "servers with the memory, compiler and commit log of a site, for measurements; needs 3 GB more, and a Cassandra that is killed loses a second")
	flags.IntVar(&cfg.Partitions, "partitions", 16, "`NUMBER` of partitions of the log, for the life of DATA")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg.Log = flags.Logger(os.Stderr)
	return cluster.Run(ctx, cfg, stdout)
}
