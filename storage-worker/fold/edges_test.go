package fold_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"switchboard/internal/bus"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/memory"
	"switchboard/storage-worker/fold"
)

// patience is how long a real server may take.
const patience = 60 * time.Second

// road is a log of one partition in a generation of its own, and what a worker
// remembers of it.
type road struct {
	t          *testing.T
	addr       string
	client     *kafka.Client
	generation uint32
	store      *memory.Store
}

func (r *road) topic(t bus.Topic) { // Makes it, when its predecessor is gone.
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		created, err := r.client.Admin().Ensure(r.t.Context(), []bus.Topic{t}, 1)
		if len(created) == 1 && err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("make %s: %v", t.Name, err)
		}
		time.Sleep(50 * time.Millisecond) // A real server.
	}
}

func (r *road) inbound() bus.Topic  { return bus.Topics(r.generation, 1)[0] }
func (r *road) accepted() bus.Topic { return bus.Topics(r.generation, 1)[1] }

// ask sends a request that kgo writes, and judges its answer.
func (r *road) ask(request kmsg.Request) kmsg.Response {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.addr))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	answer, err := client.Request(r.t.Context(), request)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer
}

// remake deletes a topic and makes it anew.
func (r *road) remake(t bus.Topic) {
	r.t.Helper()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TimeoutMillis = 10_000
	request.TopicNames = []string{t.Name}
	one := kmsg.NewDeleteTopicsRequestTopic()
	one.Topic = &t.Name
	request.Topics = append(request.Topics, one)
	if code := r.ask(request).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode; code != 0 {
		r.t.Fatalf("delete %s: error %d", t.Name, code)
	}
	r.topic(t)
}

// truncate deletes the records below an offset, as retention does.
func (r *road) truncate(t bus.Topic, offset int64) {
	r.t.Helper()
	request := kmsg.NewPtrDeleteRecordsRequest()
	request.TimeoutMillis = 10_000
	topic, partition := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	topic.Topic, partition.Offset = t.Name, offset
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	if code := r.ask(request).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
		r.t.Fatalf("delete records of %s: error %d", t.Name, code)
	}
}

// put appends records, all of them refused, since nothing is there to send to.
func (r *road) put(n int) {
	r.t.Helper()
	producer := r.client.Producer(kafka.ProducerConfig{})
	ctx, cancel := context.WithCancel(r.t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = producer.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	acked := make(chan error, n)
	for range n {
		in := bus.Inbound{
			Conversation: chat.ConversationID(chat.NewRequestID()), Sender: chat.UserID{1}, Request: chat.NewRequestID(),
			Send: &bus.Send{Kind: chat.KindText, Content: "?"},
		}
		m := bus.Message{Topic: r.inbound().Name, Key: in.Conversation[:], Value: in.Append(nil)}
		if err := producer.Produce(m, func(_ int64, err error) { acked <- err }); err != nil {
			r.t.Fatal(err)
		}
	}
	for range n {
		if err := <-acked; err != nil {
			r.t.Fatal(err)
		}
	}
}

// work runs a worker until the accepted log ends at an offset, or until it gives
// up, and returns what it gave up with.
func (r *road) work(until int64) error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	producer := r.client.Producer(kafka.ProducerConfig{})
	produced := make(chan struct{})
	producing, stop := context.WithCancel(r.t.Context())
	go func() { defer close(produced); _ = producer.Run(producing) }()
	defer func() { stop(); <-produced }()
	working, leave := context.WithCancel(ctx)
	defer leave()
	ended := make(chan error, 1)
	go func() {
		ended <- fold.New(fold.Config{
			Store: r.store, Log: r.client.Log(), Producer: producer, Generation: r.generation, Partitions: 1,
			Group: r.client.Group(r.inbound().Name, "edges-"+r.inbound().Name, kafka.GroupConfig{
				Heartbeat: 50 * time.Millisecond, Session: 6 * time.Second, Rebalance: time.Second,
			}),
			Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
		}).Run(working)
	}()
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(50 * time.Millisecond):
		}
		if _, end, err := r.client.Log().Bounds(ctx, r.accepted().Name, 0); err == nil && end >= until {
			leave()
			return <-ended
		}
		if ctx.Err() != nil {
			r.t.Fatalf("the accepted log does not reach %d", until)
		}
	}
}

// Each way in which a log may have changed while nobody worked ends the next
// worker with an error that means status 2, and nothing of it is skipped.
func TestEdgesOfALog(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(r *road)
		want  string // of the error; empty: it goes on
	}{
		{"nothing happened", func(r *road) { r.put(3) }, ""},
		{"what was decided is deleted", func(r *road) { r.put(3); r.truncate(r.inbound(), 10) }, ""},
		{"all outcomes are expired", func(r *road) { r.put(3); r.truncate(r.accepted(), 10) }, ""},
		{
			"a record that was not decided is deleted", func(r *road) { r.put(3); r.truncate(r.inbound(), 11) },
			"INBOUND partition 0 holds offsets 11 to 12, but 10 is the next to decide",
		},
		{
			"inbound is made anew", func(r *road) { r.remake(r.inbound()); r.put(3) },
			"INBOUND partition 0 holds offsets 0 to 2, but 10 is the next to decide",
		},
		{
			"inbound is made anew and is longer than before", func(r *road) { r.remake(r.inbound()); r.put(13) },
			"INBOUND partition 0 has another record at offset 9 than the one that was decided",
		},
		{
			"accepted is made anew", func(r *road) { r.put(3); r.remake(r.accepted()) },
			"ACCEPTED partition 0 ends at offset 0, but 10 records of INBOUND are decided",
		},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) {
			onBoth(t, func(t *testing.T, addr string) {
				client := kafka.Open(kafka.Config{
					Brokers: []string{addr}, ClientID: "fold", Log: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
				})
				defer client.Close()
				r := &road{t: t, addr: addr, client: client, generation: 2 + rand.Uint32N(1<<14-3), store: memory.New()}
				r.topic(r.inbound())
				r.topic(r.accepted())
				r.put(10)
				if err := r.work(10); err != nil {
					t.Fatalf("before anything happened: %v", err)
				}
				r.noted(chat.Position{Generation: r.generation, Offset: 9})
				test.spoil(r)
				err := r.work(13)
				want := strings.NewReplacer("INBOUND", r.inbound().Name, "ACCEPTED", r.accepted().Name).Replace(test.want)
				switch {
				case test.want == "" && err != nil:
					t.Errorf("got %v, want it to go on", err)
				case test.want != "" && (!errors.Is(err, bus.ErrUnsafe) || !strings.Contains(err.Error(), want)):
					t.Errorf("got %v\nwant %s", err, want)
				}
			})
		})
	}
}

// noted notes progress as a worker does that falls idle for a second.
func (r *road) noted(at chat.Position) {
	r.t.Helper()
	last, ok, err := r.client.Log().Last(r.t.Context(), r.accepted().Name, 0)
	var out bus.Accepted
	if err == nil && ok {
		err = bus.ParseAccepted(last.Value, &out)
	}
	if err != nil || !ok || out.Position != at {
		r.t.Fatalf("the last outcome is of %+v, %v, want %+v", out.Position, err, at)
	}
	if err := r.store.SetProgress(r.t.Context(), 0, archive.Progress{Position: out.Position, Clock: out.Clock}); err != nil {
		r.t.Fatal(err)
	}
}

// onBoth runs a test on an embedded broker and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("embedded", func(t *testing.T) {
		broker, err := embedded.Start(embedded.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		test(t, broker.Addr())
	})
	t.Run("real", func(t *testing.T) {
		addr := os.Getenv("SWITCHBOARD_TEST_KAFKA")
		if addr == "" {
			t.Skip("SWITCHBOARD_TEST_KAFKA does not name a Kafka to test with")
		}
		test(t, addr)
	})
}
