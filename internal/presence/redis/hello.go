package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"
)

// hello sees to it that a first failure is no riddle: a server that expects TLS
// hangs up at our first words, and "EOF" would not say so. It is a hook of a
// client without TLS.
type hello struct {
	answered atomic.Bool // the server, to anything
}

// DialHook implements the client's hook; connecting itself works.
func (h *hello) DialHook(next goredis.DialHook) goredis.DialHook { return next }

// ProcessHook implements the client's hook for single commands.
func (h *hello) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, command goredis.Cmder) error {
		err := h.explain(next(ctx, command))
		if err != nil {
			command.SetErr(err)
		}
		return err
	}
}

// ProcessPipelineHook implements the client's hook for pipelines.
func (h *hello) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, commands []goredis.Cmder) error {
		return h.explain(next(ctx, commands))
	}
}

func (h *hello) explain(err error) error {
	switch {
	case err == nil:
		h.answered.Store(true)
	case errors.Is(err, io.EOF) && !h.answered.Load():
		return fmt.Errorf("server hung up without an answer (does it expect TLS?): %w", err)
	}
	return err
}
