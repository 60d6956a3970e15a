package chat

import (
	"errors"
	"fmt"
	"time"
)

// Code is the machine-readable reason of a refusal, the same word on the socket
// and over REST.
type Code string

// The codes of protocol version 1.
const (
	BadRequest           Code = "bad_request"
	UnknownType          Code = "unknown_type"
	Unauthorized         Code = "unauthorized"
	TokenExpired         Code = "token_expired"
	Forbidden            Code = "forbidden"
	NotMember            Code = "not_member"
	ConversationFull     Code = "conversation_full"
	TooManyConversations Code = "too_many_conversations"
	Blocked              Code = "blocked"
	NotFound             Code = "not_found"
	IdempotencyConflict  Code = "idempotency_conflict"
	TooLarge             Code = "too_large"
	UnsupportedMedia     Code = "unsupported_media"
	RateLimited          Code = "rate_limited"
	Internal             Code = "internal"
	Unavailable          Code = "unavailable"
	Timeout              Code = "timeout"
)

// statuses holds the HTTP status of each code.
var statuses = map[Code]int{
	BadRequest: 400, UnknownType: 400, Unauthorized: 401, TokenExpired: 401,
	Forbidden: 403, ConversationFull: 403, TooManyConversations: 403, Blocked: 403,
	NotMember: 404, NotFound: 404, IdempotencyConflict: 409, TooLarge: 413,
	UnsupportedMedia: 415, RateLimited: 429, Internal: 500, Unavailable: 503, Timeout: 504,
}

// Status returns the HTTP status of c; an unknown code is an internal error.
func (c Code) Status() int {
	if s, ok := statuses[c]; ok {
		return s
	}
	return 500
}

// Temporary reports whether the same request may succeed later.
func (c Code) Temporary() bool {
	switch c {
	case RateLimited, Internal, Unavailable, Timeout:
		return true
	default:
		return false
	}
}

// Error is a refusal that a client is told about.
type Error struct {
	Code    Code
	Message string // one sentence for a developer; never holds what others wrote
	// RetryAfter is when a temporary refusal may be tried again; 0 says nothing.
	RetryAfter time.Duration
}

// Errorf returns an [Error] with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns "code: message".
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// AsError returns what a client may be told of err: the [Error] inside it, or
// `internal` without a detail, since an unknown error may say too much.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: Internal, Message: "the server failed; try again"}
}

// CloseCode is the status with which a WebSocket is closed. 4000–4499: connect
// again with back-off; 4500–4999: do not.
type CloseCode uint16

// The close codes of RFC 6455 that this system sends, and its own.
const (
	CloseNormal      CloseCode = 1000
	CloseGoingAway   CloseCode = 1001
	CloseProtocol    CloseCode = 1002
	CloseUnsupported CloseCode = 1003
	CloseInvalidData CloseCode = 1007
	CloseTooBig      CloseCode = 1009

	CloseServerError      CloseCode = 4000
	CloseDraining         CloseCode = 4001
	CloseSlowConsumer     CloseCode = 4003
	CloseHeartbeatTimeout CloseCode = 4004
	CloseRateLimited      CloseCode = 4005
	CloseTokenExpired     CloseCode = 4006
	CloseOverloaded       CloseCode = 4008
	CloseAuthTimeout      CloseCode = 4009

	CloseBadFrame           CloseCode = 4500
	CloseAuthFailed         CloseCode = 4501
	CloseRevoked            CloseCode = 4503
	CloseSessionReplaced    CloseCode = 4504
	CloseUnsupportedVersion CloseCode = 4506
	CloseTooManyErrors      CloseCode = 4509
)

// reasons holds the word that goes with each close code of ours.
var reasons = map[CloseCode]string{
	CloseNormal: "", CloseGoingAway: "going_away", CloseProtocol: "protocol_error",
	CloseUnsupported: "unsupported_data", CloseInvalidData: "invalid_utf8", CloseTooBig: "too_big",
	CloseServerError: "server_error", CloseDraining: "draining", CloseSlowConsumer: "slow_consumer",
	CloseHeartbeatTimeout: "heartbeat_timeout", CloseRateLimited: "rate_limited",
	CloseTokenExpired: "token_expired", CloseOverloaded: "overloaded", CloseAuthTimeout: "auth_timeout",
	CloseBadFrame: "bad_frame", CloseAuthFailed: "auth_failed", CloseRevoked: "revoked",
	CloseSessionReplaced: "session_replaced", CloseUnsupportedVersion: "unsupported_version",
	CloseTooManyErrors: "too_many_errors",
}

// Reason returns the word that is sent with the code, also a metric label.
func (c CloseCode) Reason() string { return reasons[c] }
