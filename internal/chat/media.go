package chat

import (
	"crypto/rand"
	"strings"
	"time"
)

// mediaPath is where REST answers with an upload.
const mediaPath = "/api/v1/media/"

// NewMediaID returns the id of a new upload: a UUID of version 7, so that it says
// when it was made ([MediaMade]), and 74 bits that nobody guesses.
func NewMediaID(now time.Time) MediaID {
	var id MediaID
	rand.Read(id[:]) // never fails: crypto/rand crashes the program instead
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// MediaMade returns when an upload's id was made.
func MediaMade(id MediaID) time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms)
}

// MediaPath is what the log and the archive have as a message's media_url: no host,
// which may change, and no signature, which ends.
func MediaPath(id MediaID) string { return mediaPath + id.String() }

// MediaOf returns the upload that a message's media_url names, as [MediaPath] wrote
// it.
func MediaOf(mediaURL string) (MediaID, bool) {
	text, ok := strings.CutPrefix(mediaURL, mediaPath)
	if !ok {
		return MediaID{}, false
	}
	id, err := ParseMediaID(text)
	return id, err == nil && id.String() == text
}
