package kafka

import "github.com/segmentio/kafka-go/protocol"

// Heartbeat as kafka-go 0.4.51 has it goes to any broker, where only the group's
// coordinator takes it, and its answer is read with its two fields exchanged, so
// that the refusal looks like none. The library gets both messages from here; its
// consumer groups do not use them.
func init() { //nolint:gochecknoinits // the library registers its messages so
	protocol.Register(&beatRequest{}, &beatResponse{})
}

// beatRequest is Heartbeat, versions 0 to 3.
type beatRequest struct {
	GroupID         string `kafka:"min=v0,max=v3"`
	GenerationID    int32  `kafka:"min=v0,max=v3"`
	MemberID        string `kafka:"min=v0,max=v3"`
	GroupInstanceID string `kafka:"min=v3,max=v3,nullable"`
}

// ApiKey implements [protocol.Message].
func (*beatRequest) ApiKey() protocol.ApiKey { return protocol.Heartbeat } //nolint:staticcheck // the library's name

// Group implements [protocol.GroupMessage]: the coordinator of this group is asked.
func (r *beatRequest) Group() string { return r.GroupID }

// beatResponse is its answer.
type beatResponse struct {
	ThrottleTimeMs int32 `kafka:"min=v1,max=v3"`
	ErrorCode      int16 `kafka:"min=v0,max=v3"`
}

// ApiKey implements [protocol.Message].
func (*beatResponse) ApiKey() protocol.ApiKey { return protocol.Heartbeat } //nolint:staticcheck // the library's name
