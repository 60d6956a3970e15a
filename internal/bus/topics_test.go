package bus

import (
	"reflect"
	"strings"
	"testing"

	"switchboard/internal/chat"
)

func TestNamesOfTopics(t *testing.T) {
	for got, want := range map[string]string{
		InboundTopic(1): "chat.inbound", InboundTopic(2): "chat.inbound.2",
		AcceptedTopic(1): "chat.accepted", AcceptedTopic(12): "chat.accepted.12",
		DeliveryTopic("gw-7"): "chat.delivery.gw-7",
		DeliveryLog("x").Name: "chat.delivery.x",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	var names []string
	for _, topic := range Topics(3, 16) {
		names = append(names, topic.Name)
		if topic.Partitions != 16 {
			t.Errorf("%s has %d partitions, want 16", topic.Name, topic.Partitions)
		}
		if topic.Durable == (topic.Name == TopicSignals) {
			t.Errorf("%s: durable is %v", topic.Name, topic.Durable)
		}
	}
	if want := []string{"chat.inbound.3", "chat.accepted.3", "chat.receipts", "chat.status", "chat.signals", "chat.push", "chat.undelivered"}; !reflect.DeepEqual(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

func TestKindsOfTopics(t *testing.T) {
	for topic, want := range map[string]string{
		InboundTopic(1): "inbound", InboundTopic(2): "inbound", AcceptedTopic(12): "accepted",
		DeliveryTopic("gw-7"): "delivery", TopicPush: "push", "mine": "other",
	} {
		if got := Kind(topic); got != want {
			t.Errorf("%s: got %s, want %s", topic, got, want)
		}
	}
}

func TestNamesOfServers(t *testing.T) {
	for name, want := range map[string]bool{
		"gw-7": true, "rest-1": true, "0": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "GW-7": false, "gw.7": false, "gw_7": false, "gw 7": false, "gé": false,
	} {
		if got := ValidServer(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

// The hashes were computed with org.apache.kafka.common.utils.Utils.murmur2 of
// kafka-clients 3.9.1; its own UtilsTest has some of them.
func TestMurmur2IsThatOfKafka(t *testing.T) {
	for key, want := range map[string]uint32{
		"": 0x106e08d9, "a": 0xa2d0b27c, "ab": 0x12d8262a, "abc": 0x1c94221b, "21": 0xc5f2f8ec,
		"foobar": 0xd0e47bbe, "a-little-bit-long-string": 0xc53b1da0,
	} {
		if got := murmur2([]byte(key)); got != want {
			t.Errorf("%q: got %#x, want %#x", key, got, want)
		}
	}
}

func TestUsersAndConversationsArePartitionedAlike(t *testing.T) {
	for _, want := range []int32{136, 218, 227} {
		text := map[int32]string{
			136: "00000000-0000-0000-0000-000000000000", 218: "ffffffff-ffff-ffff-ffff-ffffffffffff",
			227: "bb595a9e-6971-5656-be51-9156a7dd9901",
		}[want]
		id, err := chat.ParseConversationID(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := PartitionOf(id, 256); got != want {
			t.Errorf("conversation %v: partition %d, want %d", id, got, want)
		}
		if got := PartitionOfUser(chat.UserID(id), 256); got != want {
			t.Errorf("user %v: partition %d, want %d", id, got, want)
		}
	}
}
