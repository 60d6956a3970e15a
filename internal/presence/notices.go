package presence

import (
	"context"
	"time"

	"switchboard/internal/chat"
)

// NoticeFor is how long it is remembered that others were told of somebody who is
// online. Whoever stays for longer may be announced again when another session
// begins.
const NoticeFor = 7 * 24 * time.Hour

// Notices remember of whom others were last told that they are online. So a
// gateway's restart, which registers all its people anew, is no news of any of
// them, whichever router hears of it.
type Notices interface {
	// NoticeOnline remembers that the users are announced as online and says, in
	// the order asked, of whom that is news. An error means that nothing is known.
	NoticeOnline(ctx context.Context, users []chat.UserID) (news []bool, err error)
	// NoticeOffline forgets it again.
	NoticeOffline(ctx context.Context, users []chat.UserID) error
}
