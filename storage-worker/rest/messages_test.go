package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/memory"
)

func TestCursorsThatAreNone(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	id := chat.NewMessageID(1, 1, 1).String()
	for _, query := range []string{
		"limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "limit=5&limit=5", "limit=1.5",
		"before=x", "before=-1", "before=1.5", "before=1790000000000", "before=99999999999999999999",
		"before_seq=-1", "before_seq=", "after_seq=x", "around_seq=0x10",
		"before_id=5", "after_id=" + alice.String(), "after_id=",
		"before_seq=5&after_seq=1", "before_seq=5&before_seq=5", "before=1&before_id=" + id, "a=%zz",
	} {
		r.refused(alice, chat.BadRequest, "GET", path+"/messages?"+query, "")
	}
	var p wire.MessagePage
	w := r.do(alice, 200, &p, "GET", path+"/messages?before_seq=1&unknown=1", "")
	if want := `{"messages":[],"first_seq":0,"last_seq":0,"has_more":false}` + "\n"; w.Body.String() != want {
		t.Errorf("an empty page: got %s, want %s", w.Body, want)
	}
	for _, query := range []string{"after_seq=9223372036854775807", "before_seq=0", "before=0"} {
		r.do(alice, 200, &p, "GET", path+"/messages?"+query, "")
		if len(p.Messages) != 0 {
			t.Errorf("%s: got %v", query, p)
		}
	}
	r.do(alice, 200, &p, "GET", path+"/messages?before=100000000000", "")
	if len(p.Messages) != 1 {
		t.Errorf("before the last second: got %v", p)
	}
}

func TestContentComesBackByteForByte(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	for _, text := range []string{"<b>&amp;</b> \u2028", "  spaced\t\n", "\x00", "e\u0301 is not \u00e9", "\U0001F600", "\\u0041\"", "\ufffd"} {
		sent := r.say(alice, path, text)
		var p wire.MessagePage
		w := r.do(bob, 200, &p, "GET", path+"/messages?limit=1", "")
		if p.Messages[0].Content != text || p.Messages[0].MessageID != sent.MessageID {
			t.Errorf("sent %q, got %s", text, w.Body)
		}
	}
	w := r.do(bob, 200, nil, "GET", path+"/messages", "")
	if !json.Valid(w.Body.Bytes()) || !strings.Contains(w.Body.String(), `<b>&amp;</b>`) {
		t.Errorf("text is escaped for HTML: %s", w.Body)
	}
}

func TestOnlyTheSenderSeesItsOwnID(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	sent := r.say(alice, path, "mine")
	for u, want := range map[chat.UserID]bool{alice: true, bob: false} {
		var p wire.MessagePage
		r.do(u, 200, &p, "GET", path+"/messages?limit=1", "")
		got := p.Messages[0].ClientMessageID
		if (got != nil) != want || want && *got != sent.ClientMessageID {
			t.Errorf("%s sees %v", u, got)
		}
	}
}

// told is a conversation with random stays of one user and several events a
// second, and what of it that user may see.
type told struct {
	history
	rows    []archive.Row
	visible []archive.Row
}

func drawTold(t *rapid.T) *told {
	store := memory.New()
	c := chat.GroupConversation(alice, chat.RequestID{1})
	h := &told{history: history{store: store, conversation: c}}
	clock := chat.ClockAt(1000)
	for seq := chat.Seq(1); seq <= chat.Seq(rapid.IntRange(1, 60).Draw(t, "events")); seq++ {
		clock += chat.Clock(rapid.SampledFrom([]int{1, 1, 2_000_000, 5_000_000, 30_000_000}).Draw(t, "ticks"))
		h.rows = append(h.rows, archive.Row{Entry: chat.Entry{
			Conversation: c, Seq: seq, ID: chat.NewMessageID(clock, 1, 1), Sender: alice, Kind: chat.KindText, Content: "x",
		}})
	}
	if err := store.Write(context.Background(), &archive.Batch{Rows: h.rows}); err != nil {
		t.Fatal(err)
	}
	at := chat.Seq(0)
	for at < chat.Seq(len(h.rows)) {
		joined := at + chat.Seq(rapid.IntRange(1, 5).Draw(t, "out"))
		left := joined + chat.Seq(rapid.IntRange(1, 20).Draw(t, "in"))
		if rapid.Bool().Draw(t, "stays") {
			left = 0
		}
		h.stays = append(h.stays, archive.Stay{Joined: joined, Left: left})
		if left == 0 {
			break
		}
		at = left
	}
	for _, row := range h.rows {
		for _, s := range h.stays {
			if s.Joined <= row.Seq && (s.Left == 0 || row.Seq <= s.Left) {
				h.visible = append(h.visible, row)
			}
		}
	}
	return h
}

func second(r archive.Row) int64 { return chat.ClockOf(r.ID).Unix() }

// where returns how many visible events are below a seq.
func (h *told) where(seq chat.Seq) int {
	n, _ := slices.BinarySearchFunc(h.visible, seq, func(r archive.Row, s chat.Seq) int { return int(r.Seq - s) })
	return n
}

func seqsOf(rows []archive.Row) string {
	s := []chat.Seq{}
	for _, r := range rows {
		s = append(s, r.Seq)
	}
	return fmt.Sprint(s)
}

func TestPagesAreWhatANaiveReaderFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawTold(t)
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		seq := chat.Seq(rapid.IntRange(0, len(h.rows)+2).Draw(t, "seq"))
		any := h.rows[rapid.IntRange(0, len(h.rows)-1).Draw(t, "any")]
		ctx := context.Background()
		check := func(name string, low, high int, more bool, got page, err error) {
			t.Helper()
			if err != nil || seqsOf(got.rows) != seqsOf(h.visible[low:high]) || got.more != more {
				t.Fatalf("%s: got %s %v %v, want %s %v of %s", name, seqsOf(got.rows), got.more, err, seqsOf(h.visible[low:high]), more, seqsOf(h.visible))
			}
		}
		at, n := h.where(seq), len(h.visible)
		p, err := h.upTo(ctx, seq-1, limit)
		check("before_seq", max(0, at-limit), at, at > limit, p, err)
		after := h.where(seq + 1)
		p, err = h.after(ctx, seq, limit)
		check("after_seq", after, min(n, after+limit), n-after > limit, p, err)
		at = h.where(any.Seq)
		p, err = h.before(ctx, any.ID, limit)
		check("before_id", max(0, at-limit), at, at > limit, p, err)
		after = h.where(any.Seq + 1)
		p, err = h.afterID(ctx, any.ID, limit)
		check("after_id", after, min(n, after+limit), n-after > limit, p, err)
		p, err = h.upTo(ctx, forever, limit)
		check("newest", max(0, n-limit), n, n > limit, p, err)

		at = h.where(seq)
		low := max(0, min(at-limit/2, n-limit))
		if short := limit/2 - at; short > 0 {
			low = 0
		}
		p, err = h.around(ctx, seq, limit)
		check("around_seq", low, min(n, low+limit), low > 0, p, err)
	})
}

// A client that goes back second by second sees every event once, whatever the
// limit and however many events share a second.
func TestGoingBackBySecondsLosesAndDoublesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawTold(t)
		limit := rapid.IntRange(1, 12).Draw(t, "limit")
		var all []archive.Row
		for border := int64(5000); ; {
			p, err := h.beforeSecond(context.Background(), border, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.rows {
				if second(r) >= border {
					t.Fatalf("event of second %d before %d", second(r), border)
				}
			}
			all = append(slices.Clone(p.rows), all...)
			if !p.more {
				break
			}
			if len(p.rows) < limit {
				t.Fatalf("%d events on a page of %d, and more are said to follow", len(p.rows), limit)
			}
			border = second(p.rows[0])
		}
		if seqsOf(all) != seqsOf(h.visible) {
			t.Fatalf("got %s, want %s", seqsOf(all), seqsOf(h.visible))
		}
	})
}

// A second that is longer than the limit for it is continued by seq.
func TestASecondOfManyEvents(t *testing.T) {
	store := memory.New()
	c := chat.GroupConversation(alice, chat.RequestID{1})
	var b archive.Batch
	for i := range chat.Seq(SecondEntries + 100) {
		b.Rows = append(b.Rows, archive.Row{Entry: chat.Entry{Conversation: c, Seq: i + 1, ID: chat.NewMessageID(chat.ClockAt(50)+chat.Clock(i), 1, 1)}})
	}
	if err := store.Write(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	h := history{store: store, conversation: c, stays: []archive.Stay{{Joined: 1}}}
	p, err := h.beforeSecond(context.Background(), 51, 10)
	if err != nil || len(p.rows) != SecondEntries+10 || !p.more || p.rows[0].Seq != 91 {
		t.Errorf("got %d events from %d, more %v, %v", len(p.rows), p.rows[0].Seq, p.more, err)
	}
}

func TestPostMessage(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)
	request := chat.NewRequestID()
	body := `{"type":"text","content":"hi","client_message_id":"` + request.String() + `"}`
	var first, again struct {
		ClientMessageID chat.RequestID      `json:"client_message_id"`
		ConversationID  chat.ConversationID `json:"conversation_id"`
		MessageID       chat.MessageID      `json:"message_id"`
		Seq             chat.Seq            `json:"seq"`
		Timestamp       int64               `json:"timestamp"`
		Duplicate       bool                `json:"duplicate"`
	}
	r.do(alice, http.StatusCreated, &first, "POST", path+"/messages", body)
	if first.ClientMessageID != request || first.ConversationID != id || first.Seq != 2 || first.Duplicate || first.Timestamp != chat.ClockOf(first.MessageID).Unix() {
		t.Errorf("got %+v", first)
	}
	r.do(alice, 200, &again, "POST", path+"/messages", body)
	want := first
	want.Duplicate = true
	if again != want {
		t.Errorf("got %+v, want %+v", again, want)
	}
	// The header counts where the body has no id.
	r.do(alice, 200, &again, "POST", path+"/messages", `{"type":"text","content":"hi"}`, "Idempotency-Key", request.String())
	if again != want {
		t.Errorf("by header: got %+v, want %+v", again, want)
	}
	other := `{"type":"text","content":"hi","client_message_id":"` + chat.NewRequestID().String() + `"}`
	r.do(alice, http.StatusCreated, &again, "POST", path+"/messages", other, "Idempotency-Key", request.String())
	// Without either, each call is a message of its own.
	r.do(alice, http.StatusCreated, nil, "POST", path+"/messages", `{"type":"text","content":"hi"}`)
	r.do(alice, http.StatusCreated, &again, "POST", path+"/messages", `{"type":"text","content":"hi"}`)
	if again.Seq != 5 {
		t.Errorf("seq %d, want 5", again.Seq)
	}
}

func TestMessagesThatAreNone(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)
	for name, c := range map[string]struct {
		body string
		code chat.Code
	}{
		"empty":                       {`{}`, chat.BadRequest},
		"an event":                    {`{"type":"event","content":"x"}`, chat.BadRequest},
		"no content":                  {`{"type":"text"}`, chat.BadRequest},
		"content too long":            {`{"type":"text","content":"` + strings.Repeat("x", chat.ContentBytes+1) + `"}`, chat.TooLarge},
		"half a surrogate pair":       {`{"type":"text","content":"\ud800"}`, chat.BadRequest},
		"an id that is no UUID":       {`{"type":"text","content":"x","client_message_id":"7"}`, chat.BadRequest},
		"another conversation":        {`{"type":"text","content":"x","conversation_id":"` + alice.String() + `"}`, chat.BadRequest},
		"more than the object":        {`{"type":"text","content":"x"},"type":"connect"`, chat.BadRequest},
		"a frame inside":              {`{"type":"text","content":"x"}}`, chat.BadRequest},
		"null":                        {`null`, chat.BadRequest},
		"media of somebody else's":    {`{"type":"image","content":"","media_url":"https://evil.example/x.png"}`, chat.BadRequest},
		"a reply to no message's id":  {`{"type":"text","content":"x","reply_to":"x"}`, chat.BadRequest},
		"the same conversation, fine": {`{"type":"text","content":"x","conversation_id":"` + id.String() + `"}`, ""},
		"escapes of 8 KiB, fine":      {`{"type":"text","content":"` + strings.Repeat(`\u0000`, chat.ContentBytes) + `"}`, ""},
	} {
		w := r.serve(r.request(alice, "POST", path+"/messages", c.body))
		if c.code == "" {
			if w.Code != 201 {
				t.Errorf("%s: got %d %s", name, w.Code, w.Body)
			}
			continue
		}
		if p := r.isProblem(w, c.code.Status(), c.code); strings.Contains(p.Detail, "data.") {
			t.Errorf("%s: %s speaks of a frame", name, p.Detail)
		}
	}
	r.refused(alice, chat.BadRequest, "POST", path+"/messages", `{"type":"text","content":"x"}`, "Idempotency-Key", "seven")
}
