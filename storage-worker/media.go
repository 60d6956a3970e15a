package main

import (
	"context"
	"fmt"

	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/mediaurl"
	"switchboard/storage-worker/media"
	"switchboard/storage-worker/media/folder"
	"switchboard/storage-worker/media/s3"
)

// partMedia names the store of uploads on /readyz.
const partMedia = "media"

// bucket is where uploads are kept: in a bucket, or in a folder of this machine.
type bucket struct {
	server                       *daemon.Server
	name, region, public, folder string
	links                        *mediaurl.Flags
}

// bucketFlags adds the flags of the bucket.
func bucketFlags(flags *daemon.Flags) *bucket {
	b := &bucket{server: flags.Server("s3-endpoint", "`URL` of S3, or of what speaks its protocol: https://HOST or http://HOST:PORT; empty: no media")}
	flags.StringVar(&b.name, "s3-bucket", "switchboard-media", "`NAME` of the bucket in -s3-endpoint")
	flags.StringVar(&b.region, "s3-region", "us-east-1", "`NAME` of its region")
	return b
}

// mediaFlags adds those that only REST needs.
func mediaFlags(flags *daemon.Flags) *bucket {
	b := bucketFlags(flags)
	flags.StringVar(&b.public, "media-public-url", "", "`URL` at which clients reach -s3-endpoint, by a CDN perhaps: they are sent there with URLs that end after an hour,\nand write there by themselves if they like; empty: the bytes pass through REST")
	flags.StringVar(&b.folder, "media-folder", "", "`FOLDER` of uploads on this machine, in place of -s3-endpoint; made if missing")
	b.links = mediaurl.Bind(flags.FlagSet)
	return b
}

// given reports whether there is a store.
func (b *bucket) given() bool { return b.server.Given() || b.folder != "" }

// check refuses what cannot work.
func (b *bucket) check() error {
	if b.server.Given() && b.folder != "" {
		return daemon.Usagef("-s3-endpoint and -media-folder: there is one store")
	}
	links, err := b.links.Open()
	switch {
	case err != nil:
		return daemon.Usagef("%v", err)
	case b.given() && links == nil:
		return daemon.Usagef("-media-keys: no file given, which media needs")
	case b.server.Given():
		_, err = b.open()
	}
	return err
}

// open returns the bucket; nothing is asked of the server.
func (b *bucket) open() (*s3.Store, error) {
	at, err := b.server.Access()
	if err != nil {
		return nil, err
	}
	if len(at.Addrs) != 1 {
		return nil, daemon.Usagef("-s3-endpoint: want one URL")
	}
	store, err := s3.Open(s3.Config{
		Endpoint: at.Addrs[0], Bucket: b.name, Region: b.region, Key: at.User, Secret: at.Password, TLS: at.TLS, Public: b.public,
	})
	if err != nil {
		return nil, daemon.Usagef("-s3-endpoint, -media-public-url: %v", err)
	}
	return store, nil
}

// openMedia opens the store of uploads, if REST is served and there is one.
func (w *worker) openMedia() (err error) {
	if !w.serves(partREST) {
		return nil
	}
	if w.links, err = w.media.links.Open(); err != nil {
		return daemon.Usagef("%v", err)
	}
	if !w.media.given() {
		return nil
	}
	var store media.Store
	if w.media.folder != "" {
		dir, err := folder.Open(w.media.folder)
		if err != nil {
			return err
		}
		w.closeMedia, store = dir.Close, dir
	} else if w.bucket, err = w.media.open(); err != nil {
		return err
	} else {
		store = w.bucket
	}
	w.uploads = media.New(media.Config{
		Store: store, Links: w.links, Referenced: w.referenced, Logger: w.log, Metrics: w.set,
	})
	return nil
}

// referenced reports whether any message has an upload.
func (w *worker) referenced(ctx context.Context, id chat.MediaID) (bool, error) {
	refs, err := w.store.MediaRefs(ctx, id, 1)
	return len(refs) > 0, err
}

// sweepMedia removes what nobody has sent. It says first whether the bucket is
// there; while it is not, uploads fail and nothing else does.
func (w *worker) sweepMedia(ctx context.Context) error {
	if w.uploads == nil {
		return nil
	}
	if w.bucket != nil {
		if err := daemon.Retry(ctx, w.log, "look for the bucket", w.bucket.Check); err != nil {
			return fmt.Errorf("%s: %w", partMedia, err)
		}
	}
	return w.uploads.Run(ctx)
}

// endMedia closes what openMedia opened.
func (w *worker) endMedia() {
	if w.closeMedia != nil {
		if err := w.closeMedia(); err != nil {
			w.log.Warn("close the folder of media", "error", err)
		}
	}
}

// makeBucket makes the bucket, if one is named.
func (m *migration) makeBucket(ctx context.Context) error {
	if m.bucket == nil {
		return nil
	}
	return m.store(ctx, "s3", "the bucket was there", func(ctx context.Context) ([]string, error) {
		if made, err := m.bucket.Migrate(ctx); !made {
			return nil, err
		}
		return []string{"made the bucket"}, nil
	})
}
