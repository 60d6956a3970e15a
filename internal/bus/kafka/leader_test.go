package kafka_test

import (
	"fmt"
	"slices"
	"testing"

	"switchboard/internal/bus/kafka"
)

// What is fleeting waits for the leader alone, and is in order all the same.
func TestWhatIsFleetingWaitsForTheLeaderAlone(t *testing.T) {
	if all, leader := kafka.Acks(kafka.ProducerConfig{}), kafka.Acks(kafka.ProducerConfig{Leader: true}); all != -1 || leader != 1 {
		t.Errorf("acks are %d and, of what is fleeting, %d; want -1 and 1", all, leader)
	}
	_, client := start(t, 1)
	ensure(t, client, "fleeting", 1)
	var values []string
	for i := range 300 {
		values = append(values, fmt.Sprint(i))
	}
	produce(t, run(t, client, kafka.ProducerConfig{Leader: true}), "fleeting", 0, values...)
	if got := read(t, client, "fleeting", 0, len(values)); !slices.Equal(got, values) {
		t.Errorf("read %v, want 0 to 299", got)
	}
}
