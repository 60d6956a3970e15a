package signals

import (
	"context"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// letter is one frame and whom it is for.
type letter struct {
	to    []chat.UserID
	frame bus.Frame
}

// post publishes letters to the servers where their people are. Whoever is nowhere
// hears nothing of it, ever.
func (p *passage) post(ctx context.Context, class bus.Class, letters []letter) {
	places, err := p.where(ctx, addressees(letters))
	if err != nil {
		p.lost.Add(len(letters))
		return
	}
	servers := make(map[string][]bus.Frame)
	for i := range letters {
		for server, users := range spread(letters[i].to, places) {
			frame := letters[i].frame
			frame.Recipients = users
			servers[server] = append(servers[server], frame)
			p.told.Add(len(users))
		}
	}
	var notes []presence.Note
	for server, frames := range servers {
		for len(frames) > 0 {
			n := min(len(frames), framesPerNote)
			d := bus.Delivery{Class: class, Frames: frames[:n]}
			notes = append(notes, presence.Note{Server: server, Payload: d.Append(nil)})
			frames = frames[n:]
		}
	}
	if len(notes) == 0 {
		return
	}
	if err := p.cfg.Channel.Publish(ctx, notes); err != nil {
		p.lost.Inc()
		p.cfg.Logger.Debug("some of what is fleeting was not published", "error", err)
		return
	}
	p.notes.Add(len(notes))
}

// addressees returns everybody whom the letters are for, each once.
func addressees(letters []letter) (users []chat.UserID) {
	seen := make(map[chat.UserID]struct{})
	for i := range letters {
		for _, u := range letters[i].to {
			if _, ok := seen[u]; !ok {
				seen[u] = struct{}{}
				users = append(users, u)
			}
		}
	}
	return users
}

// where asks the directory for users, a part at a time.
func (p *passage) where(ctx context.Context, users []chat.UserID) (map[chat.UserID]presence.Places, error) {
	places := make(map[chat.UserID]presence.Places, len(users))
	for len(users) > 0 {
		n := min(len(users), usersPerLookup)
		answers, err := p.cfg.Directory.Where(ctx, users[:n])
		if err != nil {
			return nil, err
		}
		for i, u := range users[:n] {
			places[u] = answers[i]
		}
		users = users[n:]
	}
	return places, nil
}

// spread returns who of some users is on which server, each user once a server.
func spread(users []chat.UserID, places map[chat.UserID]presence.Places) map[string][]chat.UserID {
	on := make(map[string][]chat.UserID)
	for _, u := range users {
		for _, r := range places[u].Routes {
			list := on[r.Slot]
			if len(list) == 0 || list[len(list)-1] != u {
				on[r.Slot] = append(list, u)
			}
		}
	}
	return on
}
