package kafka

import (
	"context"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// LockSession is how long a lock outlives its holder.
const LockSession = lockSession

// Fetches returns how many fetches the client's readers have made.
func (c *Client) Fetches() uint64 { return c.fetches.Get() }

// Evict makes the coordinator forget the members of a group, as it does when it
// has not heard of them for long.
func Evict(ctx context.Context, c *Client, group string) error {
	answer, err := c.kafka.DescribeGroups(ctx, &kafkago.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return err
	}
	request := &kafkago.LeaveGroupRequest{GroupID: group}
	for _, m := range answer.Groups[0].Members {
		request.Members = append(request.Members, kafkago.LeaveGroupRequestMember{ID: m.MemberID})
	}
	left, err := c.kafka.LeaveGroup(ctx, request)
	if err != nil {
		return err
	}
	return left.Error
}

// Acks returns what the requests of a producer ask of the broker.
func Acks(config ProducerConfig) int16 {
	s := &sender{producer: &Producer{config: config}, request: new(rawproduce.Request)}
	s.compose()
	return s.request.Acks
}
