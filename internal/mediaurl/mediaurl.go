// Package mediaurl makes and checks the URLs of uploads. Whoever has one may open
// the upload until the URL ends, so that an <img> needs no header; and only who
// uploaded something gets a URL that may be sent.
//
//	REST    ──upload──▶ Issued: may be opened, and sent by this user
//	gateway ──send_message──▶ Claim: ours, and issued to the sender? ──▶ log: /api/v1/media/{id}
//	router, REST ──message──▶ Signed: may be opened for an hour or two
//	REST    ◀──GET── MayOpen
//
// The log and the archive have [chat.MediaPath], never a signature: what a message
// is does not end, and a key may be replaced. It knows neither HTTP nor stores.
package mediaurl

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"switchboard/internal/chat"
)

// Lifetime is about how long a URL may be opened: one to two of it. All that are
// made within one end at once and are the same, so that browsers find them in
// their caches.
const Lifetime = time.Hour

// The limits of a file of keys.
const (
	keyBytes  = 32 // a key has at least so many
	keysMax   = 8
	fileBytes = 4 << 10
)

// The parameters of a URL.
const (
	expiresParameter = "exp" // Unix seconds
	openParameter    = "sig"
	sendParameter    = "own"
)

// macBytes is how much of an HMAC-SHA-256 a URL carries.
const macBytes = 16

// ErrForeign says that a URL was not issued by this system to its sender.
var ErrForeign = chat.Errorf(chat.BadRequest, "media_url was not issued to you by this system")

// Links makes and checks URLs. It is safe for concurrent use; a nil one makes
// none and takes none.
type Links struct {
	// Fixed after Open.
	file string
	base string
	now  func() time.Time

	keys atomic.Pointer[[][]byte] // the first one signs
}

// Open reads a file of keys, one a line in base64, at least 32 bytes each. The
// first one signs, all of them verify. Without a file there are no links: nil. base is put before the path of each URL:
// where clients reach REST, or nothing.
func Open(file, base string) (*Links, error) {
	if file == "" {
		return nil, nil
	}
	if base != "" {
		u, err := url.Parse(base)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("%q is no URL of REST", base)
		}
	}
	l := &Links{file: file, base: strings.TrimSuffix(base, "/"), now: time.Now}
	return l, l.Reload()
}

// Reload reads the keys again; if it fails the old ones remain.
func (l *Links) Reload() error {
	if l == nil {
		return nil
	}
	text, err := os.ReadFile(l.file)
	if err != nil {
		return fmt.Errorf("read the keys of media URLs: %w", err)
	}
	if len(text) > fileBytes {
		return fmt.Errorf("%s is too long for a file of keys", l.file)
	}
	var keys [][]byte
	for number, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) < keyBytes {
			return fmt.Errorf("line %d of %s is no key of %d bytes or more in base64", number+1, l.file, keyBytes)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 || len(keys) > keysMax {
		return fmt.Errorf("%s has %d keys, want 1 to %d", l.file, len(keys), keysMax)
	}
	l.keys.Store(&keys)
	return nil
}

// Generate writes a new key into a file, unless it is there.
func Generate(file string) error {
	var key [keyBytes]byte
	rand.Read(key[:]) // never fails: crypto/rand crashes the program instead
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make a key of media URLs: %w", err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key[:]) + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("make a key of media URLs: %w", err)
	}
	return nil
}

// Signed returns the URL under which a message's upload may be opened now. What is
// no stored media_url comes back as it is.
func (l *Links) Signed(mediaURL string) string {
	if l == nil || mediaURL == "" {
		return mediaURL
	}
	id, ok := chat.MediaOf(mediaURL)
	if !ok {
		return mediaURL
	}
	return l.base + mediaURL + "?" + l.opening(id)
}

// Thumbnail returns the URL of an upload's thumbnail.
func (l *Links) Thumbnail(id chat.MediaID) string {
	return l.base + chat.MediaPath(id) + "/thumbnail?" + l.opening(id)
}

// Issued returns the URL of an upload that its owner may open and send.
func (l *Links) Issued(id chat.MediaID, owner chat.UserID) string {
	return l.Signed(chat.MediaPath(id)) + "&" + sendParameter + "=" + l.mac(l.first(), sendMAC(id, owner))
}

// opening is the query that opens an upload for a while.
func (l *Links) opening(id chat.MediaID) string {
	expires := l.now().Truncate(Lifetime).Add(2 * Lifetime).Unix()
	return expiresParameter + "=" + strconv.FormatInt(expires, 10) + "&" + openParameter + "=" + l.mac(l.first(), openMAC(id, expires))
}

// Claim returns what the log keeps of the media_url that a client sends: its path.
// Anything that was not issued to this sender is [ErrForeign]. That it may not be
// opened any more does not matter: a retry may come late.
func (l *Links) Claim(mediaURL string, sender chat.UserID) (string, error) {
	if l == nil {
		return "", ErrForeign
	}
	u, err := url.Parse(mediaURL)
	if err != nil {
		return "", ErrForeign
	}
	id, ok := chat.MediaOf(u.Path)
	if before, _, _ := strings.Cut(mediaURL, "?"); !ok || before != chat.MediaPath(id) && before != l.base+chat.MediaPath(id) {
		return "", ErrForeign
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" || !l.checks(query[sendParameter], sendMAC(id, sender)) {
		return "", ErrForeign
	}
	return u.Path, nil
}

// Signs reports whether a query claims to open an upload by itself.
func Signs(query url.Values) bool { return query.Has(openParameter) }

// MayOpen reports whether a query opens an upload now.
func (l *Links) MayOpen(id chat.MediaID, query url.Values) bool {
	if l == nil || len(query[expiresParameter]) != 1 {
		return false
	}
	expires, err := strconv.ParseInt(query.Get(expiresParameter), 10, 64)
	if err != nil || strconv.FormatInt(expires, 10) != query.Get(expiresParameter) || l.now().Unix() >= expires {
		return false
	}
	return l.checks(query[openParameter], openMAC(id, expires))
}

// checks reports whether a parameter is there once and is the MAC of a text by one
// of the keys.
func (l *Links) checks(values []string, text []byte) bool {
	if len(values) != 1 {
		return false
	}
	for _, key := range *l.keys.Load() {
		if hmac.Equal([]byte(values[0]), []byte(l.mac(key, text))) {
			return true
		}
	}
	return false
}

func (l *Links) first() []byte { return (*l.keys.Load())[0] }

func (l *Links) mac(key, text []byte) string {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:macBytes])
}

// The texts that are signed begin with what they allow, so that one never passes
// for the other.
func openMAC(id chat.MediaID, expires int64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte("switchboard/media/open/1\x00"), id[:]...), uint64(expires))
}

func sendMAC(id chat.MediaID, owner chat.UserID) []byte {
	return append(append([]byte("switchboard/media/send/1\x00"), id[:]...), owner[:]...)
}
