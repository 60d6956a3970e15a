package main

import (
	"context"
	"hash/fnv"
	"io"
	"sync"
	"time"

	"switchboard/bench/pulse"
	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// listener is a member of a large conversation, with a device of the client library
// that may leave and come back.
type listener struct {
	rest   *client.REST
	url    string
	talk   chat.ConversationID
	pulse  *pulse.Pulse
	device *client.Client // of the present life
	end    func()         // ends it and waits for that

	mu      sync.Mutex
	applied []applied
	heads   int
}

// applied is an event that the library handed over: its place, and what it is.
type applied struct {
	seq   chat.Seq
	print uint64
}

// begin connects the device, for the first time or with what it had; it stays
// connected until ctx ends or it leaves.
func (l *listener) begin(ctx context.Context) {
	var have map[chat.ConversationID]chat.Seq
	if l.device != nil {
		have = l.device.Have()
	}
	l.device = client.New(client.Config{
		REST: l.rest, URL: l.url, Device: "bench", Have: have, Apply: l.apply, Signal: l.hear,
	})
	device, ended := l.device, make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	l.pulse.Open.Add(1)
	go func() {
		defer close(ended)
		defer l.pulse.Open.Add(-1)
		_ = device.Run(ctx) // Who is told not to come back is not complete at the end.
	}()
	l.end = func() {
		cancel()
		<-ended
	}
}

// apply notes an event of the conversation.
func (l *listener) apply(m wire.Message) {
	if m.ConversationID != l.talk {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied = append(l.applied, applied{m.Seq, fingerprint(m)})
	if m.Event == nil {
		l.pulse.Got.Add(1)
	}
}

// hear counts heads.
func (l *listener) hear(e client.Event) {
	if e.Type != "conversation_updated" || decode[wire.ConversationUpdated](e.Data).HeadSeq == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heads++
}

// fingerprint tells messages apart. Live, an event has no id, and its place says
// all.
func fingerprint(m wire.Message) uint64 {
	if m.Event != nil {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(m.MessageID[:])      // A hash takes everything.
	_, _ = io.WriteString(h, m.Content) // Likewise.
	_, _ = h.Write(m.SenderID[:])       // Likewise.
	return h.Sum64()
}

// count returns how many events were applied.
func (l *listener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.applied)
}

// knows waits until the first event was applied.
func (l *listener) knows(ctx context.Context) {
	for l.count() == 0 && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
}

// compare checks what was applied against history, place by place.
func (l *listener) compare(report *groupReport, history []wire.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	report.HeadsHeard += l.heads
	for i := range min(len(history), len(l.applied)) {
		if want := (applied{history[i].Seq, fingerprint(history[i])}); l.applied[i] != want {
			report.Misplaced++
		}
	}
	if len(l.applied) < len(history) {
		report.Incomplete++
	}
	report.Misplaced += max(0, len(l.applied)-len(history))
}
