package rest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/search"
)

// index is a search index that has what the archive has, at once.
type index struct {
	search.Store
	archive archive.Store
	also    []search.Document // what the archive does not have
	fail    error
}

func (x *index) Match(ctx context.Context, q *search.Question) (m search.Matches, err error) {
	m.Documents = slices.Clone(x.also)
	for c := range q.Scope {
		rows, err := x.archive.Entries(ctx, c, 1, forever, 1000, false)
		if err != nil {
			return m, err
		}
		for i := range rows {
			if d, ok := search.NewDocument(&rows[i].Entry); ok {
				m.Documents = append(m.Documents, d)
			}
		}
	}
	slices.SortFunc(m.Documents, func(a, b search.Document) int { return chat.CompareMessageIDs(b.ID, a.ID) })
	return m, x.fail
}

// newSearchRig is a rig with an index.
func newSearchRig(t *testing.T) (*rig, *index) {
	r := newRig(t)
	x := &index{archive: r.road.store}
	r.Finder = search.NewFinder(x, metrics.New())
	return r, x
}

// found returns the contents that u finds.
func (r *rig) found(u chat.UserID, query string) string {
	r.t.Helper()
	var page wire.SearchPage
	r.do(u, http.StatusOK, &page, "GET", "/api/v1/search?q="+url.QueryEscape(query), "")
	var all []string
	for _, result := range page.Results {
		all = append(all, result.Message.Content)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (r *rig) finds(u chat.UserID, query, want string) {
	r.t.Helper()
	if got := r.found(u, query); got != want {
		r.t.Errorf("%q finds %q, want %q", query, got, want)
	}
}

func TestSearchShowsTheMessagesOfHistory(t *testing.T) {
	r, _ := newSearchRig(t)
	id, group := r.group(bob)
	sent := r.say(bob, group, "🎉 Привет, ёлка!")
	r.say(alice, group, "something else")
	var page wire.SearchPage
	r.do(bob, http.StatusOK, &page, "GET", "/api/v1/search?q="+url.QueryEscape("елка"), "")
	var history wire.MessagePage
	r.do(bob, http.StatusOK, &history, "GET", group+"/messages?after_seq=1&limit=1", "")
	if len(page.Results) != 1 || page.Cursor != "" {
		t.Fatalf("got %+v", page)
	}
	got := page.Results[0]
	if got.Message.MessageID != sent.MessageID || got.Message.ConversationID != id || *got.Message.ClientMessageID != *history.Messages[0].ClientMessageID {
		t.Errorf("got %+v, want %+v", got.Message, history.Messages[0])
	}
	if want := []wire.Highlight{{Start: 11, End: 15, Text: "ёлка"}}; !slices.Equal(got.Highlights, want) {
		t.Errorf("highlights %+v, want %+v", got.Highlights, want)
	}
	if w := r.do(bob, http.StatusOK, nil, "GET", "/api/v1/search?q=absent", ""); w.Body.String() != `{"results":[]}`+"\n" {
		t.Errorf("nothing found is %s", w.Body)
	}
}

func TestSearchIsOfOnesOwnConversations(t *testing.T) {
	r, _ := newSearchRig(t)
	id, group := r.group(bob, carol)
	r.say(alice, group, "word to all")
	r.do(alice, http.StatusNoContent, nil, "DELETE", group+"/members/"+bob.String(), "")
	r.say(alice, group, "word after bob")
	r.finds(alice, "word", "word after bob, word to all")
	r.finds(carol, "word in:"+id.String(), "word after bob, word to all")
	r.finds(bob, "word", "")
	r.refused(bob, chat.NotMember, "GET", "/api/v1/search?q=word&conversation_id="+id.String(), "")
	r.refused(bob, chat.NotMember, "GET", "/api/v1/search?q=in:"+id.String(), "")
	r.refused(bob, chat.NotMember, "GET", "/api/v1/search?q=word&conversation_id="+chat.DirectConversation(bob, carol).String(), "")
	r.do(alice, http.StatusCreated, nil, "PUT", group+"/members/"+bob.String(), "")
	r.say(alice, group, "word of return")
	r.finds(bob, "word", "word of return, word to all")
	r.do(alice, http.StatusCreated, nil, "PUT", group+"/members/"+chat.DemoUser("dave").String(), "")
	r.finds(chat.DemoUser("dave"), "word", "")
}

func TestRemovalDuringASearch(t *testing.T) {
	r, _ := newSearchRig(t)
	_, group := r.group(bob, carol)
	r.say(alice, group, "word to all")
	r.store.meanwhile = func() {
		r.do(alice, http.StatusNoContent, nil, "DELETE", group+"/members/"+bob.String(), "")
	}
	r.finds(bob, "word", "")
	if r.store.meanwhile != nil {
		t.Error("bob was not removed")
	}
}

func TestWhatTheArchiveDoesNotHaveIsNotFound(t *testing.T) {
	r, x := newSearchRig(t)
	id, group := r.group(bob)
	sent := r.say(alice, group, "a word")
	at := func(seq chat.Seq, message chat.MessageID, content string) search.Document {
		return search.Document{ID: message, Conversation: id, Seq: seq, Sender: alice, Kind: chat.KindText, Content: content}
	}
	x.also = []search.Document{at(77, r.road.next(), "word of nowhere"), at(sent.Seq, r.road.next(), "word of another"), at(sent.Seq, sent.MessageID, "other word")}
	r.finds(alice, "word", "a word")
}

func TestSearchGoesOn(t *testing.T) {
	r, _ := newSearchRig(t)
	_, group := r.group(bob)
	want := []string{"word 1", "word 2", "word 3"}
	for _, text := range want {
		r.say(alice, group, text)
	}
	var got []string
	cursor := ""
	for range want {
		var page wire.SearchPage
		r.do(alice, http.StatusOK, &page, "GET", "/api/v1/search?q=word&limit=1&cursor="+cursor, "")
		if len(page.Results) != 1 {
			t.Fatalf("a page of %d", len(page.Results))
		}
		got, cursor = append(got, page.Results[0].Message.Content), page.Cursor
	}
	if slices.Sort(got); cursor != "" || !slices.Equal(got, want) {
		t.Errorf("got %q, then the cursor %q", got, cursor)
	}
}

func TestSearchesThatAreRefused(t *testing.T) {
	r, x := newSearchRig(t)
	for _, query := range []string{"", "q=", "q=from:x", "q=a&q=b", "q=x&limit=0", "q=x&cursor=y", "q=%zz", "q=%ff"} {
		r.refused(alice, chat.BadRequest, "GET", "/api/v1/search?"+query, "")
	}
	r.group(bob)
	x.fail = errors.New("broken")
	r.refused(alice, chat.Unavailable, "GET", "/api/v1/search?q=x", "")
	x.fail = context.DeadlineExceeded
	r.refused(alice, chat.Timeout, "GET", "/api/v1/search?q=x", "")
	r.store.fail = errors.New("broken")
	r.refused(alice, chat.Internal, "GET", "/api/v1/search?q=x", "")
	r.Finder = nil
	r.refused(alice, chat.Unavailable, "GET", "/api/v1/search?q=x", "")
}
