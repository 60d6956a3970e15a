package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/scram"

	"switchboard/internal/bus"
	"switchboard/internal/complaint"
)

// mechanism returns how connections are authenticated, or nil for not at all.
// There is one mechanism, the strongest that brokers know without a service
// beside them; a user is made for it with
//
//	kafka-configs --alter --add-config 'SCRAM-SHA-512=[password=…]' --entity-type users --entity-name app
func mechanism(user, password string) sasl.Mechanism {
	if user == "" {
		return nil
	}
	m, err := scram.Mechanism(scram.SHA512, user, password)
	if err != nil {
		return forbidden{err}
	}
	return m
}

// forbidden stands for a user name or a password that no broker can know, since
// SCRAM forbids some of its characters.
type forbidden struct{ why error }

// Name implements [sasl.Mechanism].
func (f forbidden) Name() string { return scram.SHA512.Name() }

// Start implements [sasl.Mechanism].
func (f forbidden) Start(context.Context) (sasl.StateMachine, []byte, error) {
	return nil, nil, fmt.Errorf("prepare the user's name and password: %w", f.why)
}

// refused reports whether a broker answered that we may not do what we do. That
// lasts until somebody changes it, so it is worth a line at once.
func refused(err error) bool {
	return isAny(err, kafkago.SASLAuthenticationFailed, kafkago.UnsupportedSASLMechanism, kafkago.IllegalSASLState,
		kafkago.TopicAuthorizationFailed, kafkago.GroupAuthorizationFailed, kafkago.ClusterAuthorizationFailed)
}

// explain says in our words what the broker's numbers mean for an operator.
func explain(err error) error {
	switch {
	case errors.Is(err, kafkago.SASLAuthenticationFailed):
		return fmt.Errorf("brokers refuse the user or the password: %w", err)
	case errors.Is(err, kafkago.UnsupportedSASLMechanism), errors.Is(err, kafkago.IllegalSASLState):
		return fmt.Errorf("brokers do not take %s on this port: %w", scram.SHA512.Name(), err)
	}
	return err
}

// explain says more where a broker hung up: those that want a login do so at the
// first question of somebody without one.
func (c *Client) explain(err error) error {
	hungUp := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if hungUp && c.login == nil && !strings.Contains(err.Error(), "TLS") {
		return fmt.Errorf("broker hung up (does it expect a user and a password?): %w", err)
	}
	return explain(err)
}

// maxComplaints bounds how many lines are remembered.
const maxComplaints = 256

// complaints are lines of the log about what fails again and again, of which one
// a minute is enough: the same reason holds up every partition at the same time.
type complaints struct {
	log *slog.Logger

	mu   sync.Mutex
	book *complaint.Book
}

func newComplaints(log *slog.Logger) *complaints {
	return &complaints{log: log, book: complaint.NewBook(maxComplaints)}
}

// warn writes a line unless the same about the same was written just now.
func (c *complaints) warn(line, about string, err error, facts ...any) {
	c.mu.Lock()
	due := c.book.Due(complaint.Reason(fmt.Sprint(line, "\n", err)) + "\n" + about)
	c.mu.Unlock()
	if due {
		c.log.Warn(line, append(facts, "err", err)...) //nolint:sloglint // each caller's line is a constant
	}
}

// dialer makes connections for the parts of the library that do not use the
// transport.
func (c *Client) dialer() *kafkago.Dialer {
	return &kafkago.Dialer{
		ClientID: c.config.ClientID, Timeout: coordinatorTimeout,
		DialFunc: c.dial, SASLMechanism: c.login,
	}
}

// anyBroker is an address that means one of Config.Brokers, another each time.
// Given the list, kafka-go's groups always begin with the first that takes a
// connection; a process that stands still goes on taking them, and a group would
// stand still with it.
const anyBroker = "any.broker.invalid:9092"

// dial makes a connection to a broker, or to one of those that we know.
func (c *Client) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if address != anyBroker {
		return c.conns.Dial(ctx, network, address)
	}
	for _, i := range rand.Perm(len(c.config.Brokers)) {
		if conn, err = c.conns.Dial(ctx, network, c.config.Brokers[i]); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// missing says why a topic is not in our picture of the cluster: there is none,
// or we may not see it, which brokers do not tell apart unless they are asked
// for that topic.
func (a *admin) missing(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	answer, err := a.client.kafka.DescribeConfigs(ctx, &kafkago.DescribeConfigsRequest{
		Resources: []kafkago.DescribeConfigRequestResource{{ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic}},
	})
	if err == nil && len(answer.Resources) == 1 && refused(answer.Resources[0].Error) {
		return fmt.Errorf("see topic %s: %w", topic, answer.Resources[0].Error)
	}
	return fmt.Errorf("topic %s is missing: %w", topic, bus.ErrUnknownTopic)
}
