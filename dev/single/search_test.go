package single

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/chat"
)

// finds returns the conversations in which something is found, each once, and the
// contents.
func (p *person) finds(query string) (conversations []chat.ConversationID, contents []string) {
	p.t.Helper()
	for cursor := ""; ; {
		page, err := p.rest.Search(p.t.Context(), query, cursor)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, r := range page.Results {
			contents = append(contents, r.Message.Content)
			if !slices.Contains(conversations, r.Message.ConversationID) {
				conversations = append(conversations, r.Message.ConversationID)
			}
		}
		if cursor = page.Cursor; cursor == "" {
			slices.Sort(contents)
			return conversations, contents
		}
	}
}

// An outsider finds nothing of conversations that she was in or was never in, and
// asked by name all of them answer as the one that does not exist.
func TestOutsidersFindNothing(t *testing.T) {
	o := newOutside(t)
	again(t, func() bool {
		all, _ := o.alice.finds(secret)
		return len(all) == len(o.talks)-1
	})
	for _, query := range []string{secret, secret[:2] + "*", "from:me", "from:" + o.alice.id.String(), "after:2000-01-01"} {
		if _, found := o.mallory.finds(query); len(found) > 0 {
			t.Errorf("mallory looks for %q and finds %q", query, found)
		}
	}
	for _, query := range []string{"q=" + secret + "&conversation_id=", "q=in:", "q=" + secret + "%20in:"} {
		o.same("GET", "/api/v1/search?"+query+"{conversation}", "")
	}
}

// A new member finds nothing of before, and a removed one nothing at all.
func TestSearchEndsWhereMembershipDoes(t *testing.T) {
	s := start(t)
	alice, bob := s.person(t, "alice", ""), s.person(t, "bob", "")
	c, err := alice.rest.Group(t.Context(), chat.NewRequestID(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	alice.say(c)
	alice.member("PUT", c, bob.id)
	alice.say(c)
	again(t, func() bool { _, all := alice.finds("hello"); return len(all) == 2 })
	if _, found := bob.finds("hello"); len(found) != 1 {
		t.Errorf("a new member finds %q, want what came after the joining", found)
	}
	alice.member("DELETE", c, bob.id)
	if _, found := bob.finds("hello"); len(found) != 0 {
		t.Errorf("a removed member finds %q", found)
	}
}

func TestAnIndexThatWasDeletedIsBuiltAnew(t *testing.T) {
	data := t.TempDir()
	var before []string
	for _, life := range []string{"first", "after the index was deleted"} {
		t.Run(life, func(t *testing.T) {
			s := start(t, func(c *Config) { c.Data = data })
			alice := s.person(t, "alice", "")
			if before == nil {
				c, err := alice.rest.Direct(t.Context(), chat.DemoUser("bob"))
				if err != nil {
					t.Fatal(err)
				}
				alice.say(c)
				alice.say(c)
			}
			again(t, func() bool { _, all := alice.finds("hello"); return len(all) == 2 })
			_, found := alice.finds("from:me")
			if before != nil && !slices.Equal(found, before) {
				t.Errorf("found %q, before %q", found, before)
			}
			before = found
		})
		files, err := filepath.Glob(filepath.Join(data, "search.db*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no index in %s: %v", strings.Join(files, " "), err)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
}
