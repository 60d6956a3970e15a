package presence

import (
	"context"
	"time"

	"switchboard/internal/chat"
)

// NoticeFor is for how long after somebody came it is remembered that others were
// told so. Who stays longer on one connection goes unannounced.
const NoticeFor = 30 * 24 * time.Hour

// Notices remember of whom others were last told that they are online. So a
// gateway's restart, which registers all its people anew, is no news of any of
// them, whichever router hears of it; and a directory that forgot where somebody is
// forgot the notice too, so that nobody is called offline who is merely not known.
// Such a notice comes back when Apply finds that a session was lost.
type Notices interface {
	// NoticeOnline remembers that the users are announced as online and says, in
	// the order asked, of whom that is news. An error means that nothing is known.
	NoticeOnline(ctx context.Context, users []chat.UserID) (news []bool, err error)
	// NoticeOffline remembers that the users are announced as offline and says of
	// whom others were told anything lately: that they are offline is news, and it
	// is so again for whoever asks again within an hour, so that a word which was
	// lost on the way is repeated and not forgotten. Others know it of anybody else.
	NoticeOffline(ctx context.Context, users []chat.UserID) (news []bool, err error)
}
