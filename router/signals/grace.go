package signals

import (
	"context"
	"slices"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

// The limits of coming and going.
const (
	// Grace is how long somebody may be gone before others are told: long enough to
	// change networks, or for a gateway to restart.
	Grace = 15 * time.Second
	// PeersTold is how many are told of one who comes or goes.
	PeersTold = 200
	// gracesMax bounds of how many people a partition waits for the end of the
	// grace, some 100 bytes each; beyond it others go on to see them online.
	gracesMax = 1 << 18
	// lookAgain is how often a partition without news looks whose grace has ended,
	// and lookSoonest how often one with news does: each time it goes through all.
	lookAgain, lookSoonest = time.Second, time.Second / 2
)

// grace is what is left of somebody whose session ended, until it is known
// whether that was the last one.
type grace struct {
	from int64 // the offset of the oldest hint of it: a successor begins there
	left int64 // when the last session ended, Unix milliseconds
}

func (g *grace) due() time.Time { return time.UnixMilli(g.left).Add(Grace) }

// arrivals are those who came, in order, each once.
type arrivals struct {
	users []chat.UserID
	at    map[chat.UserID]int64
}

func (a *arrivals) add(h *bus.Hint) {
	if _, ok := a.at[h.User]; !ok {
		a.users = append(a.users, h.User)
	}
	if a.at == nil {
		a.at = make(map[chat.UserID]int64)
	}
	a.at[h.User] = max(a.at[h.User], h.Millis)
}

// leave begins or prolongs a grace.
func (p *passage) leave(h *bus.Hint, offset int64) {
	g := p.graces[h.User]
	if g == nil {
		if len(p.graces) >= gracesMax {
			p.crowded.Inc()
			return
		}
		g = &grace{from: offset}
		p.graces[h.User] = g
	}
	g.left = max(g.left, h.Millis)
}

// routeArrivals announces those of whom that is news: whoever has a second
// device, or was gone for less than the grace, or came back from a gateway that
// died, never ceased to be online for others.
func (p *passage) routeArrivals(ctx context.Context, a *arrivals) {
	if len(a.users) == 0 {
		return
	}
	news, err := p.cfg.Notices.NoticeOnline(ctx, a.users)
	if err != nil {
		p.lost.Add(len(a.users))
		return
	}
	var updates []update
	for i, u := range a.users {
		if news[i] {
			at := a.at[u]
			updates = append(updates, update{wire.Presence{UserID: u, Status: chat.Online.String(), LastSeen: at / 1000}, at})
		}
	}
	p.announce(ctx, updates)
}

// endGraces asks where those are whose grace has ended, and announces who is
// nowhere, if others were told before that they are somewhere. While the directory
// does not answer they wait: nobody is called offline unasked.
func (p *passage) endGraces(ctx context.Context) {
	if !p.settled() {
		return
	}
	over := p.overdue()
	if len(over) == 0 {
		return
	}
	asking, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if p.doubtful {
		if _, err := p.where(asking, over); err != nil {
			p.doubt(ctx)
			return
		}
		p.doubtful, p.looked = false, time.Now().Add(SettledAfter)
		return
	}
	noticed, err := p.noticedGone(asking, over)
	if err == nil {
		noticed, err = p.stillGone(asking, noticed)
	}
	if err != nil {
		p.doubt(ctx)
		return
	}
	var updates []update
	for _, u := range noticed {
		left := p.graces[u].left
		delete(p.graces, u)
		updates = append(updates, update{wire.Presence{UserID: u, Status: chat.Offline.String(), LastSeen: left / 1000}, left})
	}
	p.announce(asking, updates)
}

// doubt is for a question of this partition that failed: it asks again after a while,
// and believes what it hears when there has been an answer for SettledAfter. Others,
// whose users are elsewhere in the directory, have no part in it.
func (p *passage) doubt(ctx context.Context) {
	if ctx.Err() != nil {
		return // Nobody is to blame.
	}
	p.retries.Inc()
	p.doubtful, p.looked = true, time.Now().Add(presence.RenewEvery)
}

// noticedGone ends the graces of those who are somewhere, and of those of whom
// nobody was told that they are. Of the others it is noticed that they are gone; if
// this is asked again, since what follows went wrong, they are among them again.
func (p *passage) noticedGone(ctx context.Context, over []chat.UserID) (noticed []chat.UserID, err error) {
	gone, err := p.nowhere(ctx, over)
	if err != nil {
		return nil, err
	}
	news, err := p.cfg.Notices.NoticeOffline(ctx, gone)
	if err != nil {
		return nil, err
	}
	for i, u := range gone {
		if news[i] {
			noticed = append(noticed, u)
			continue
		}
		delete(p.graces, u)
		p.unnoticed.Inc()
	}
	return noticed, nil
}

// stillGone looks a second time. After Redis forgot everything a session comes back,
// and then its notice, and both may have happened between the look and the notice:
// whoever is there by now is not gone, and keeps the notice.
func (p *passage) stillGone(ctx context.Context, noticed []chat.UserID) (gone []chat.UserID, err error) {
	if len(noticed) == 0 {
		return nil, nil
	}
	gone, err = p.nowhere(ctx, noticed)
	var here []chat.UserID // or not known to be gone
	for _, u := range noticed {
		if err != nil || !slices.Contains(gone, u) {
			here = append(here, u)
		}
	}
	p.remember(ctx, here)
	return gone, err
}

// nowhere returns those of some users who are not online, and ends the graces of
// those who are. A user who may be on a gateway that Redis forgot is neither: the
// gateway will say again that it is there, if it is.
func (p *passage) nowhere(ctx context.Context, users []chat.UserID) (gone []chat.UserID, err error) {
	places, err := p.where(ctx, users)
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		switch {
		case places[u].Online:
			delete(p.graces, u)
			p.back.Inc()
		case places[u].Unknown && time.Since(p.graces[u].due()) < SettledAfter:
		default:
			gone = append(gone, u)
		}
	}
	return gone, nil
}

// overdue returns some of those whose grace has ended: not more at once than one
// question holds, so that many who go together are a stream and not a storm.
func (p *passage) overdue() (users []chat.UserID) {
	now := time.Now()
	if now.Sub(p.looked) < lookSoonest {
		return nil
	}
	p.looked = now
	for u, g := range p.graces {
		if !g.due().After(now) {
			if users = append(users, u); len(users) == usersPerLookup {
				break
			}
		}
	}
	return users
}

// forget has the next arrival of users be news.
func (p *passage) forget(ctx context.Context, users []chat.UserID) {
	if _, err := p.cfg.Notices.NoticeOffline(ctx, users); err != nil {
		p.lost.Inc() // They are not announced when they come next.
	}
}

// remember takes back that users were forgotten. The time for what was asked may be
// over by now.
func (p *passage) remember(ctx context.Context, users []chat.UserID) {
	if len(users) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience)
	defer cancel()
	if _, err := p.cfg.Notices.NoticeOnline(ctx, users); err != nil {
		p.lost.Add(len(users)) // When they go, nobody is told.
	}
}

// finished returns how far everything is done with: where a successor begins.
func (p *passage) finished() int64 {
	next := p.next
	for _, g := range p.graces {
		next = min(next, g.from)
	}
	return next
}

// update is one who came or went, and when, in milliseconds.
type update struct {
	wire.Presence
	at int64
}

// announce tells the direct peers. Of whom the roster says nothing nobody is told;
// the next arrival is news again.
func (p *passage) announce(ctx context.Context, updates []update) {
	if len(updates) == 0 {
		return
	}
	peers := make([][]chat.UserID, len(updates))
	unknown := p.ask(len(updates), func(i int) (err error) {
		peers[i], err = p.cfg.Roster.Peers(ctx, updates[i].UserID, PeersTold)
		return err
	})
	p.takeBack(ctx, updates, unknown)
	letters := make([]letter, 0, len(updates))
	for i, u := range updates {
		if len(peers[i]) == 0 {
			continue
		}
		letters = append(letters, letter{to: peers[i], frame: bus.Frame{
			Payload: wire.AppendPresenceUpdate(nil, &u.Presence),
			// Of what is said of one person a gateway passes nothing that is older
			// than what it has passed.
			Key:   slices.Concat([]byte("presence"), u.UserID[:]),
			Order: u.at,
		}})
	}
	p.announced.Add(len(letters))
	p.post(ctx, bus.Latest, letters)
}

// takeBack forgets the notices of those who were not announced after all. The time
// for the batch may be over by now.
func (p *passage) takeBack(ctx context.Context, updates []update, unknown []bool) {
	var users []chat.UserID
	for i := range updates {
		if unknown[i] {
			users = append(users, updates[i].UserID)
		}
	}
	if len(users) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience)
	defer cancel()
	p.forget(ctx, users)
}
