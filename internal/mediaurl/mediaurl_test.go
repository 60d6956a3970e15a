package mediaurl

import (
	"errors"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
)

var (
	alice, bob = chat.DemoUser("alice"), chat.DemoUser("bob")
	begin      = time.Unix(1_790_000_000, 0)
)

// open returns links with a key of their own at a time that the test moves.
func open(t *testing.T, base string) (*Links, *time.Time) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys")
	if err := Generate(file); err != nil {
		t.Fatal(err)
	}
	l, err := Open(file, base)
	if err != nil {
		t.Fatal(err)
	}
	now := begin
	l.now = func() time.Time { return now }
	return l, &now
}

// query returns a URL's query.
func query(t *testing.T, text string) url.Values {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func TestASignedURLOpensItsUploadForAWhile(t *testing.T) {
	l, now := open(t, "https://chat.example")
	id := chat.NewMediaID(begin)
	signed := l.Signed(chat.MediaPath(id))
	if want := "https://chat.example" + chat.MediaPath(id) + "?"; !strings.HasPrefix(signed, want) {
		t.Fatalf("got %s, want %s…", signed, want)
	}
	*now = begin.Add(Lifetime - time.Second)
	if !l.MayOpen(id, query(t, signed)) {
		t.Error("it does not open within its lifetime")
	}
	*now = begin.Add(2*Lifetime + time.Second)
	if l.MayOpen(id, query(t, signed)) {
		t.Error("it opens when its time is over")
	}
}

func TestWhatIsChangedOpensNothing(t *testing.T) {
	l, _ := open(t, "")
	id := chat.NewMediaID(begin)
	good := query(t, l.Issued(id, alice))
	if !l.MayOpen(id, good) {
		t.Fatal("the URL itself does not open")
	}
	if l.MayOpen(chat.NewMediaID(begin), good) {
		t.Error("it opens another upload")
	}
	for name, change := range map[string]func(url.Values){
		"a later end":             func(q url.Values) { q.Set("exp", "1999999999") },
		"the end in another form": func(q url.Values) { q.Set("exp", "+"+q.Get("exp")) },
		"no end":                  func(q url.Values) { q.Del("exp") },
		"two ends":                func(q url.Values) { q.Add("exp", q.Get("exp")) },
		"no signature":            func(q url.Values) { q.Del("sig") },
		"two signatures":          func(q url.Values) { q.Add("sig", q.Get("sig")) },
		"that of sending":         func(q url.Values) { q.Set("sig", q.Get("own")) },
		"another letter":          func(q url.Values) { q.Set("sig", "x"+q.Get("sig")[1:]) },
	} {
		changed := query(t, "?"+good.Encode())
		change(changed)
		if l.MayOpen(id, changed) {
			t.Errorf("with %s it opens", name)
		}
	}
}

func TestOnlyTheOwnerMaySend(t *testing.T) {
	l, now := open(t, "https://chat.example")
	id := chat.NewMediaID(begin)
	issued := l.Issued(id, alice)
	relative := strings.TrimPrefix(issued, "https://chat.example")
	*now = begin.Add(100 * time.Hour) // A retry may be late.
	for _, text := range []string{issued, relative} {
		if got, err := l.Claim(text, alice); err != nil || got != chat.MediaPath(id) {
			t.Errorf("%s: got %q, %v; want the path of the upload", text, got, err)
		}
	}
	other := chat.MediaPath(chat.NewMediaID(begin))
	for name, text := range map[string]string{
		"what others see":   l.Signed(chat.MediaPath(id)),
		"a bare path":       chat.MediaPath(id),
		"another host":      "https://evil.example" + relative,
		"another upload":    other + "?" + query(t, issued).Encode(),
		"a thumbnail":       strings.Replace(issued, "?", "/thumbnail?", 1),
		"a way round":       strings.Replace(issued, "/media/", "/media/../media/", 1),
		"an escaped path":   strings.Replace(issued, "media", "%6dedia", 1),
		"a fragment":        issued + "#x",
		"anything":          "https://example.org/cat.png",
		"no URL":            "http://[::1",
		"twice the same":    issued + "&own=" + query(t, issued).Get("own"),
		"a MAC of opening":  relative[:strings.Index(relative, "&own=")] + "&own=" + query(t, issued).Get("sig"),
		"javascript":        "javascript:alert(1)//" + relative,
		"an upper-case id":  strings.Replace(relative, id.String(), strings.ToUpper(id.String()), 1),
		"a user in the URL": strings.Replace(issued, "https://", "https://u@", 1),
	} {
		if got, err := l.Claim(text, alice); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: got %q, %v; want a refusal", name, got, err)
		}
	}
	if _, err := l.Claim(issued, bob); !errors.Is(err, ErrForeign) {
		t.Errorf("another sender: got %v, want a refusal", err)
	}
}

func TestURLsOfOneHourAreTheSame(t *testing.T) {
	l, now := open(t, "")
	path := chat.MediaPath(chat.NewMediaID(begin))
	*now = begin.Truncate(Lifetime)
	first := l.Signed(path)
	*now = now.Add(Lifetime - time.Second)
	if again := l.Signed(path); again != first {
		t.Errorf("got %s and %s: no cache finds that", first, again)
	}
}

func TestKeysAreReplacedOneAfterAnother(t *testing.T) {
	l, _ := open(t, "")
	id := chat.NewMediaID(begin)
	old := l.Issued(id, alice)
	text, err := os.ReadFile(l.file)
	if err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(t.TempDir(), "second")
	if err := Generate(second); err != nil {
		t.Fatal(err)
	}
	more, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	put := func(keys []byte) {
		t.Helper()
		if err := os.WriteFile(l.file, keys, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	put(append(more, text...))
	if _, err := l.Claim(old, alice); err != nil || !l.MayOpen(id, query(t, old)) {
		t.Errorf("what the former key signed is refused: %v", err)
	}
	if l.Issued(id, alice) == old {
		t.Error("the former key still signs")
	}
	put(more)
	if _, err := l.Claim(old, alice); err == nil || l.MayOpen(id, query(t, old)) {
		t.Error("what a key that is gone signed is taken")
	}
	for _, bad := range []string{"", "short\n", "c2hvcnQ=\n", strings.Repeat(string(more), 9), strings.Repeat("A", fileBytes+1)} {
		if err := os.WriteFile(l.file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := l.Reload(); err == nil {
			t.Errorf("a file of %d bytes is taken for keys", len(bad))
		}
	}
	if !l.MayOpen(id, query(t, l.Issued(id, alice))) {
		t.Error("after a bad file the keys from before are gone")
	}
}

func TestWithoutKeysNothingIsSigned(t *testing.T) {
	none, err := Open("", "https://chat.example")
	if none != nil || err != nil || none.Reload() != nil {
		t.Fatalf("got %v, %v; want no links", none, err)
	}
	path := chat.MediaPath(chat.NewMediaID(begin))
	if got := none.Signed(path); got != path {
		t.Errorf("got %s, want the path as it is", got)
	}
	if _, err := none.Claim(path, alice); !errors.Is(err, ErrForeign) {
		t.Errorf("got %v, want a refusal", err)
	}
	l, _ := open(t, "")
	for _, foreign := range []string{"", "https://media.example/1?sig=%41"} {
		if got := l.Signed(foreign); got != foreign {
			t.Errorf("%q became %q", foreign, got)
		}
	}
	for _, base := range []string{"chat.example", "ftp://x", "https://x/?a", "http://"} {
		if _, err := Open(l.file, base); err == nil {
			t.Errorf("%q is taken for the URL of REST", base)
		}
	}
}

func TestFlags(t *testing.T) {
	l, _ := open(t, "")
	for args, want := range map[string]bool{
		"": true, "-media-keys=" + l.file: true, "-media-keys=" + l.file + " -rest-url=https://chat.example/": true,
		"-media-keys=/nowhere": false, "-media-keys=" + l.file + " -rest-url=chat": false,
	} {
		set := flag.NewFlagSet("test", flag.ContinueOnError)
		f := Bind(set)
		if err := set.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		got, err := f.Open()
		if (err == nil) != want || (got != nil) != (want && args != "") {
			t.Errorf("%q: got %v, %v", args, got, err)
		}
	}
}
