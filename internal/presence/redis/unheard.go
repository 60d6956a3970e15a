package redis

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"
)

// errUnheard says that the client of a cluster has repeated by itself what may have
// been carried out before, so what the answer says of it means nothing.
var errUnheard = errors.New("an answer was lost, and the question repeated unseen")

// unheard is a hook of the client of one node of a cluster. It notes lost answers with
// whoever asks to know, see heedUnheard.
type unheard struct{}

type unheardKey struct{}

// heedUnheard returns a context for pipelines, and what becomes true when the answer
// to a part of one is lost.
func heedUnheard(ctx context.Context) (context.Context, *atomic.Bool) {
	lost := new(atomic.Bool)
	return context.WithValue(ctx, unheardKey{}, lost), lost
}

// DialHook implements the client's hook.
func (unheard) DialHook(next goredis.DialHook) goredis.DialHook { return next }

// ProcessHook implements the client's hook for single commands.
func (unheard) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

// ProcessPipelineHook implements the client's hook for pipelines.
func (unheard) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, commands []goredis.Cmder) error {
		err := next(ctx, commands)
		if lost, ok := ctx.Value(unheardKey{}).(*atomic.Bool); ok && mayBeDone(err) {
			lost.Store(true)
		}
		return err
	}
}

// mayBeDone reports whether a question that failed may have reached the server, which
// did not refuse it.
func mayBeDone(err error) bool {
	var refusal goredis.Error
	var network *net.OpError
	return err != nil && !errors.As(err, &refusal) && !(errors.As(err, &network) && network.Op == "dial")
}
