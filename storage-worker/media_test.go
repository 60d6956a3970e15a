package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/internal/auth"
	"switchboard/internal/daemon"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
)

// mediaFiles makes both files of keys.
func mediaFiles(t *testing.T) (keys, links string) {
	t.Helper()
	keys, links = filepath.Join(t.TempDir(), "keys.json"), filepath.Join(t.TempDir(), "media-keys")
	if err := auth.Generate(keys); err != nil {
		t.Fatal(err)
	}
	if err := mediaurl.Generate(links); err != nil {
		t.Fatal(err)
	}
	return keys, links
}

func TestMediaFlagsThatCannotWork(t *testing.T) {
	keys, links := mediaFiles(t)
	for want, args := range map[string][]string{
		"-media-keys: no file given":                          {"-media-folder", t.TempDir()},
		"-s3-endpoint and -media-folder: there is one store":  {"-media-keys", links, "-media-folder", t.TempDir(), "-s3-endpoint", "http://127.0.0.1:1"},
		"is no endpoint":                                      {"-media-keys", links, "-s3-endpoint", "ftp://127.0.0.1"},
		"-s3-endpoint: want one URL":                          {"-media-keys", links, "-s3-endpoint", "http://127.0.0.1:1,http://127.0.0.1:2"},
		"-s3-endpoint-credentials":                            {"-media-keys", links, "-s3-endpoint", "http://127.0.0.1:1", "-s3-endpoint-credentials", "/nowhere"},
		"-media-keys, -rest-url: read the keys of media URLs": {"-media-keys", "/nowhere"},
		"is no URL of REST":                                   {"-media-keys", links, "-rest-url", "chat.example.org"},
	} {
		args = append([]string{
			"-ops-listen", "127.0.0.1:0", "-listen", "127.0.0.1:0", "-kafka", "127.0.0.1:1",
			"-archive", filepath.Join(t.TempDir(), "archive.db"), "-auth-keys", keys,
		}, args...)
		err := run(t.Context(), args, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || fmt.Sprintf("%T", err) != "*daemon.usageError" {
			t.Errorf("%v: got %v, a %T; want the usage error %s", args, err, err, want)
		}
	}
}

// A bucket is opened with what the flags say, and signs for the public URL.
func TestABucketIsWhereTheFlagsSay(t *testing.T) {
	_, links := mediaFiles(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("key:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := daemon.NewFlags("test", "test")
	b := mediaFlags(flags)
	if err := flags.Parse([]string{"-media-keys", links, "-s3-endpoint", "http://127.0.0.1:1", "-s3-endpoint-credentials", secret, "-s3-bucket", "pictures", "-media-public-url", "https://media.example.org"}); err != nil {
		t.Fatal(err)
	}
	store, err := b.open()
	if err != nil {
		t.Fatal(err)
	}
	at, err := store.Direct(t.Context(), http.MethodGet, "2026010203/a/original", "image/png", "inline", 60e9)
	if err != nil || !strings.HasPrefix(at, "https://media.example.org/pictures/2026010203/a/original?") {
		t.Errorf("got %s, %v", at, err)
	}
	none := &worker{options: &options{serve: &[]string{partFold}, media: b}, set: metrics.New()}
	if err := none.openMedia(); err != nil || none.uploads != nil {
		t.Errorf("without REST: got %v, %v; want no store", none.uploads, err)
	}
}
