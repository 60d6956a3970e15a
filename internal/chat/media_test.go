package chat

import (
	"strings"
	"testing"
	"time"
)

func TestAMediaIDSaysWhenItWasMade(t *testing.T) {
	made := time.UnixMilli(1_790_000_000_123)
	id := NewMediaID(made)
	if !MediaMade(id).Equal(made) || id[6]>>4 != 7 || id[8]>>6 != 2 {
		t.Errorf("%v: made %v, want a version 7 UUID of %v", id, MediaMade(id), made)
	}
	if NewMediaID(made) == id {
		t.Error("two ids of one moment are the same")
	}
}

func TestAStoredMediaURLNamesItsUpload(t *testing.T) {
	id := NewMediaID(time.UnixMilli(1_790_000_000_123))
	if got, ok := MediaOf(MediaPath(id)); !ok || got != id {
		t.Errorf("got %v, %v; want %v", got, ok, id)
	}
	for _, other := range []string{
		"", "https://media.example/1", id.String(), "/api/v1/media/", MediaPath(id) + "/thumbnail", MediaPath(id) + "?a",
		"/api/v1/media/" + strings.ToUpper(id.String()), "https://host" + MediaPath(id),
	} {
		if got, ok := MediaOf(other); ok {
			t.Errorf("%q names %v, want nothing", other, got)
		}
	}
}
