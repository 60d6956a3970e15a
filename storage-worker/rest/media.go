package rest

import (
	"context"
	"fmt"
	"net/http"

	"switchboard/internal/chat"
	"switchboard/internal/mediaurl"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/media"
	"switchboard/storage-worker/search"
)

// mediaPath begins the routes of uploads, and directPath begins a direct one.
const (
	mediaPath  = "/api/v1/media/"
	directPath = "/api/v1/media"
)

// Whoever comes without a signed URL is looked for in the conversations that an upload
// was sent to.
const (
	// MediaConversations is in how many of them: twice as many as its owner may be in.
	MediaConversations = 2 * chat.ConversationsPerUser
	// MediaLooks is in how many of those that the caller is in the message is looked for:
	// where it came before the caller did, it may be seen in another one.
	MediaLooks = 64
)

// raw answers a request by itself and returns the status.
type raw func(w http.ResponseWriter, r *http.Request) int

// written says that a handler has answered already, with this status.
type written int

// streams is the part of the interface whose bodies are no JSON.
func (s *Server) streams() map[string]map[string]raw {
	give := func(small bool) opener {
		return func(w http.ResponseWriter, r *http.Request, about *media.Info, _ chat.UserID) (reply, error) {
			r, leave, err := s.transfer(r, about.ID)
			if err != nil {
				return reply{}, err
			}
			defer leave()
			status, err := s.files.Give(w, r, about, small)
			return reply{status, written(status)}, err
		}
	}
	return map[string]map[string]raw{
		mediaPath + "upload": {"POST": func(w http.ResponseWriter, r *http.Request) int {
			return s.answer(w, r, method{func(r *http.Request, who chat.UserID) (reply, error) {
				r, leave, err := s.transfer(r, chat.MediaID{})
				if err != nil {
					return reply{}, err
				}
				defer leave()
				u, err := s.files.Receive(w, r, who)
				return reply{http.StatusCreated, u}, err
			}, writes})
		}},
		mediaPath + "{media}":           {"GET": s.opened(give(false))},
		mediaPath + "{media}/thumbnail": {"GET": s.opened(give(true))},
		mediaPath + "{media}/complete":  {"POST": s.completeUpload},
		mediaPath + "{media}/info": {"GET": s.opened(func(_ http.ResponseWriter, _ *http.Request, about *media.Info, who chat.UserID) (reply, error) {
			return reply{http.StatusOK, s.files.Describe(about, who)}, nil
		})},
	}
}

// beginUpload lets a client write into the store by itself.
func (s *Server) beginUpload(r *http.Request, who chat.UserID) (reply, error) {
	body, err := readBody(r, SmallBodyBytes, false)
	if err != nil {
		return reply{}, err
	}
	var asked wire.BeginUpload
	if err := decode(body, &asked); err != nil {
		return reply{}, err
	}
	begun, err := s.files.Begin(r.Context(), who, asked)
	return reply{http.StatusCreated, begun}, err
}

// completeUpload makes an upload of what a client has written. A body says nothing.
func (s *Server) completeUpload(w http.ResponseWriter, r *http.Request) int {
	return s.answer(w, r, method{func(r *http.Request, who chat.UserID) (reply, error) {
		id, err := chat.ParseMediaID(r.PathValue("media"))
		if err != nil {
			return reply{}, media.ErrNotPending
		}
		if _, err := readBody(r, SmallBodyBytes, true); err != nil {
			return reply{}, err
		}
		r, leave, err := s.transfer(r, id)
		if err != nil {
			return reply{}, err
		}
		defer leave()
		u, err := s.files.Complete(w, r, who, id)
		return reply{http.StatusCreated, u}, err
	}, writes})
}

// opener answers with some of an upload that may be read. who is nobody if the URL
// was signed.
type opener func(w http.ResponseWriter, r *http.Request, about *media.Info, who chat.UserID) (reply, error)

// opened lets in who has a signed URL, the owner, and the members who see the message
// that has an upload. What others ask for is not there.
func (s *Server) opened(open opener) raw {
	return func(w http.ResponseWriter, r *http.Request) int {
		id, err := chat.ParseMediaID(r.PathValue("media"))
		if err != nil {
			return s.problem(w, r, media.ErrNoUpload)
		}
		handle := func(r *http.Request, who chat.UserID) (reply, error) {
			about, err := s.files.Info(r.Context(), id)
			if err == nil && !who.IsZero() {
				err = s.mayRead(r.Context(), about, who)
			}
			if err != nil {
				return reply{}, err
			}
			return open(w, r, about, who)
		}
		query := r.URL.Query()
		signed := mediaurl.Signs(query)
		good := signed && s.Links.MayOpen(id, query)
		if !signed || !good && r.Header.Get("Authorization") != "" {
			return s.answer(w, r, method{handle, reads})
		}
		if !good {
			return s.problem(w, r, chat.Errorf(chat.Forbidden, "the URL has ended or was changed: ask for the message again"))
		}
		out, err := handle(r, chat.UserID{})
		return s.finish(w, r, out, err)
	}
}

// mayRead asks the archive in which conversations the upload is, and whether the caller
// sees the message that brought it there: who joined later, or was away, does not. Of
// several messages in a conversation the last one counts. To refuse somebody who is in
// none of them costs two reads, however many they are.
func (s *Server) mayRead(ctx context.Context, about *media.Info, who chat.UserID) error {
	if about.Owner == who {
		return nil
	}
	refs, err := s.Store.MediaRefs(ctx, about.ID, MediaConversations)
	if err != nil {
		return fmt.Errorf("read who has the upload: %w", err)
	}
	if len(refs) == 0 {
		return media.ErrNoUpload
	}
	scope, err := s.scope(ctx, who)
	if err != nil {
		return err
	}
	looks := 0
	for i := range refs {
		c := refs[i].Conversation
		if _, in := scope[c]; !in {
			continue
		}
		if looks++; looks > MediaLooks {
			break
		}
		if sees, err := s.covers(ctx, scope, &refs[i]); err != nil {
			return err
		} else if !sees {
			continue
		}
		if _, err = s.membership(ctx, who, c); err == nil || chat.AsError(err).Code != chat.NotMember {
			return err
		}
	}
	return media.ErrNoUpload
}

// covers reports whether the message that brought an upload to a conversation is in
// what somebody may see.
func (s *Server) covers(ctx context.Context, scope search.Scope, ref *archive.MediaRef) (bool, error) {
	below, err := s.Store.Tip(ctx, ref.Conversation, ref.By)
	if err != nil {
		return false, fmt.Errorf("find the message that has an upload: %w", err)
	}
	seq := below.Seq + 1
	if !scope.Covers(ref.Conversation, seq) {
		return false, nil
	}
	// While a Write is under way, what is below may not be there yet.
	rows, err := s.Store.Entries(ctx, ref.Conversation, seq, seq, 1, false)
	if err != nil {
		return false, fmt.Errorf("read the message that has an upload: %w", err)
	}
	return len(rows) == 1 && rows[0].ID == ref.By, nil
}

// sign gives the messages that a reader sees URLs that open.
func (s *Server) sign(rows []archive.Row) {
	for i := range rows {
		rows[i].MediaURL = s.Links.Signed(rows[i].MediaURL)
	}
}

// transfer lets a request, which was authorized, become a transfer of an upload, if
// there is a place; leave ends it. From then on it does not count among the others
// and may take longer than [RequestTimeout].
func (s *Server) transfer(r *http.Request, id chat.MediaID) (whole *http.Request, leave func(), err error) {
	if leave, err = s.files.Slots.Enter(id); err != nil {
		return nil, nil, err
	}
	if at, ok := r.Context().Value(inFlightKey{}).(*inFlight); ok {
		at.leave()
		r = r.WithContext(at.ctx)
	}
	return r, leave, nil
}
