package single

import (
	"context"
	"path/filepath"

	"switchboard/internal/chat"
	"switchboard/internal/mediaurl"
	"switchboard/storage-worker/media"
	"switchboard/storage-worker/media/folder"
)

// openMedia opens the folder of uploads, with a key of its own for their URLs.
func (s *System) openMedia(context.Context) (err error) {
	file := filepath.Join(s.cfg.Data, "media-keys")
	if err := mediaurl.Generate(file); err != nil {
		return err
	}
	if s.links, err = mediaurl.Open(file, s.restURL()); err != nil {
		return err
	}
	store, err := folder.Open(filepath.Join(s.cfg.Data, "media"))
	if err != nil {
		return err
	}
	s.onClose(func() { _ = store.Close() })
	s.media = media.New(media.Config{
		Store: store, Links: s.links, Referenced: s.referenced, Logger: s.cfg.Logger, Metrics: s.set,
	})
	return nil
}

// restURL begins the URLs of uploads: where REST listens, unless that is on all
// addresses, of which each client knows another.
func (s *System) restURL() string {
	if everywhere(s.public.Addr()) {
		return ""
	}
	return s.URLs().REST
}

// referenced reports whether any message has an upload.
func (s *System) referenced(ctx context.Context, id chat.MediaID) (bool, error) {
	refs, err := s.store.MediaRefs(ctx, id, 1)
	return len(refs) > 0, err
}
