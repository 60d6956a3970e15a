package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	// lockSession is how long the lock outlives a process that was killed.
	lockSession = 10 * time.Second
	// lockBeat is how often the holder shows that it lives.
	lockBeat = time.Second
	// lockPause is the time between two tries to get a lock that is held.
	lockPause = 500 * time.Millisecond
	// lockAttempt bounds one try. A coordinator answers the first member of a
	// group after its group.initial.rebalance.delay.ms, which is 3 s by default.
	lockAttempt = 15 * time.Second
	// lockProtocol tells these groups from those that share partitions.
	lockProtocol = "switchboard-lock"
)

// ErrLockLost is the cause of the end of a lock's context: the coordinator took
// it away, or did not answer for so long that it may have.
var ErrLockLost = errors.New("lock is lost")

// Lock waits until nobody else holds the lock of that name and takes it. The
// lock is a consumer group that is never more than one process, and needs no
// topic:
//
//	JoinGroup, protocol "<random>"  ──▶ empty group: joined, the lock is ours
//	                                ──▶ somebody is there: INCONSISTENT_GROUP_PROTOCOL
//
// Members of a group must have a protocol in common, and each process brings
// one that no other knows; so the coordinator refuses all but the first, and
// does so without disturbing it. A process that ends or is killed loses its
// membership, and with it the lock, after lockSession at the latest.
//
// self is what others are told about the holder. waiting is called when somebody
// else turns out to hold the lock, and whenever that is somebody new. The context
// that Lock returns ends with ctx, with unlock, or when the lock is lost: a
// process that was stopped for longer than lockSession still believes in it
// until it looks again, so what is done under the lock must bear being done twice.
func (c *Client) Lock(ctx context.Context, name, self string, waiting func(holder string)) (held context.Context, unlock func(), err error) {
	l := &lock{client: c, name: name, self: self, mark: rand.Text()}
	if err := l.take(ctx, waiting); err != nil {
		return nil, nil, fmt.Errorf("take the lock %s: %w", name, err)
	}
	held, lose := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.keep(held, lose)
	}()
	unlock = func() {
		lose(context.Canceled)
		<-ended
		l.leave(context.WithoutCancel(ctx))
	}
	return held, unlock, nil
}

// lock is a membership in a group of one. It is owned by the goroutine that
// takes it, then by the one that keeps it, then by the one that leaves.
type lock struct {
	// Fixed after construction.
	client     *Client
	name, self string
	mark       string // the protocol that no other process has

	member     string
	generation int
}

// take tries until the group is ours.
func (l *lock) take(ctx context.Context, waiting func(holder string)) error {
	holder := ""
	for n := 0; ; n++ {
		err := l.join(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil && holder != "":
			return fmt.Errorf("%w; it is held by %s", context.Cause(ctx), holder)
		case ctx.Err() != nil:
			return fmt.Errorf("%w (last error: %w)", context.Cause(ctx), err)
		case isAny(err, kafkago.GroupAuthorizationFailed, kafkago.InvalidSessionTimeout, kafkago.SASLAuthenticationFailed):
			return err
		case errors.Is(err, kafkago.InconsistentGroupProtocol):
			if now := l.holder(ctx); now != holder {
				holder = now
				waiting(holder)
			}
			sleep(ctx, lockPause)
			continue
		case isAny(err, kafkago.UnknownMemberId):
			l.member = ""
		}
		if n%patience == patience-1 {
			l.client.log.Warn("lock cannot be taken", "lock", l.name, "err", err)
		}
		l.client.recover(ctx, err)
		sleep(ctx, backoff(n))
	}
}

// join makes one try. Where a former try was accepted without our knowledge, two
// members have our mark; the coordinator drops the one that does not answer.
func (l *lock) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lockAttempt)
	defer cancel()
	request := &kafkago.JoinGroupRequest{
		GroupID: l.name, MemberID: l.member, ProtocolType: lockProtocol,
		SessionTimeout: lockSession, RebalanceTimeout: lockSession,
		Protocols: []kafkago.GroupProtocol{{Name: l.mark, Metadata: kafkago.GroupProtocolSubscription{UserData: []byte(l.self)}}},
	}
	joined, err := l.client.kafka.JoinGroup(ctx, request)
	if err == nil && errors.Is(joined.Error, kafkago.MemberIDRequired) {
		l.member = joined.MemberID
		request.MemberID = l.member
		joined, err = l.client.kafka.JoinGroup(ctx, request)
	}
	if err == nil {
		err = joined.Error
	}
	if err != nil {
		return err
	}
	l.member, l.generation = joined.MemberID, joined.GenerationID
	if len(joined.Members) != 1 {
		return fmt.Errorf("%d members have our mark: %w", len(joined.Members), kafkago.RebalanceInProgress)
	}
	synced, err := l.client.kafka.SyncGroup(ctx, &kafkago.SyncGroupRequest{
		GroupID: l.name, MemberID: l.member, GenerationID: l.generation, ProtocolType: lockProtocol, ProtocolName: l.mark,
		Assignments: []kafkago.SyncGroupRequestAssignment{{MemberID: l.member}},
	})
	if err == nil {
		err = synced.Error
	}
	return err
}

// holder says who has the lock, as far as the coordinator tells.
func (l *lock) holder(ctx context.Context) string {
	const unknown = "another process"
	ctx, cancel := context.WithTimeout(ctx, coordinatorTimeout)
	defer cancel()
	group, err := l.describe(ctx)
	if err != nil || len(group.Members) == 0 {
		return unknown
	}
	m := &group.Members[0]
	who := string(m.MemberMetadata.UserData)
	if who == "" { // The group is being joined.
		who = unknown
	}
	return who + " at " + strings.TrimPrefix(m.ClientHost, "/")
}

// keep shows that the holder lives, and calls lose when that was in vain.
func (l *lock) keep(ctx context.Context, lose context.CancelCauseFunc) {
	for good := time.Now(); sleep(ctx, lockBeat); {
		asked := time.Now()
		err := l.beat(ctx)
		switch {
		case err == nil:
			good = asked
		case isAny(err, kafkago.UnknownMemberId, kafkago.IllegalGeneration, kafkago.RebalanceInProgress):
			lose(fmt.Errorf("%w: %w", ErrLockLost, err))
			return
		case time.Since(good) >= lockSession:
			lose(fmt.Errorf("%w: no answer for %v: %w", ErrLockLost, lockSession, err))
			return
		default:
			l.client.recover(ctx, err)
		}
	}
}

// beat shows that the holder lives and asks whether it still is a member.
func (l *lock) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	answer, err := l.client.transport.RoundTrip(ctx, l.client.addr, &beatRequest{
		GroupID: l.name, MemberID: l.member, GenerationID: int32(l.generation),
	})
	if err != nil {
		return err
	}
	if code := answer.(*beatResponse).ErrorCode; code != 0 {
		return kafkago.Error(code)
	}
	return nil
}

func (l *lock) describe(ctx context.Context) (kafkago.DescribeGroupsResponseGroup, error) {
	answer, err := l.client.kafka.DescribeGroups(ctx, &kafkago.DescribeGroupsRequest{GroupIDs: []string{l.name}})
	if err != nil {
		return kafkago.DescribeGroupsResponseGroup{}, err
	}
	if len(answer.Groups) != 1 {
		return kafkago.DescribeGroupsResponseGroup{}, kafkago.GroupCoordinatorNotAvailable
	}
	return answer.Groups[0], answer.Groups[0].Error
}

// leave gives the lock back. If that fails it goes by itself.
func (l *lock) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, coordinatorTimeout)
	defer cancel()
	answer, err := l.client.kafka.LeaveGroup(ctx, &kafkago.LeaveGroupRequest{
		GroupID: l.name, Members: []kafkago.LeaveGroupRequestMember{{ID: l.member}},
	})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		l.client.log.Debug("giving a lock back failed", "lock", l.name, "err", err)
	}
}
