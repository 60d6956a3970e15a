package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// LimitedWait bounds for how long, in all, a call is held back that the server
// answers with 429: it came too soon.
const LimitedWait = 30 * time.Second

// RetryLast bounds how long anybody is believed who says when trying again is of use:
// a mistake there, of a proxy for one, must not keep a device away for a day.
const RetryLast = 5 * time.Minute

// pauseOf returns a pause that is said in some unit, bounded.
func pauseOf(n int64, unit time.Duration) time.Duration {
	return time.Duration(min(max(n, 0), int64(RetryLast/unit))) * unit
}

// StatusError is an HTTP answer that is not a success. Problem is set where the
// server explained itself.
type StatusError struct {
	Status  int
	Problem wire.Problem
	// RetryAfter is when the server says that trying again is of use, [RetryLast] at
	// most; 0 = it does not.
	RetryAfter time.Duration
}

// statusError reads an answer that is not a success. A proxy's may have no problem
// in it.
func statusError(response *http.Response) *StatusError {
	e := &StatusError{Status: response.StatusCode}
	if response.Body != nil {
		_ = json.NewDecoder(response.Body).Decode(&e.Problem) // a body of another kind explains nothing
	}
	text := response.Header.Get("Retry-After")
	switch seconds, err := strconv.ParseInt(text, 10, 64); {
	case e.Problem.RetryAfterMS > 0:
		e.RetryAfter = pauseOf(e.Problem.RetryAfterMS, time.Millisecond)
	case err == nil || errors.Is(err, strconv.ErrRange): // then it is the highest number
		e.RetryAfter = pauseOf(seconds, time.Second)
	default:
		if at, err := http.ParseTime(text); err == nil {
			e.RetryAfter = pauseOf(int64(time.Until(at)), 1)
		}
	}
	return e
}

// Error returns the status and what the server said of it.
func (e *StatusError) Error() string {
	if e.Problem.Code == "" {
		return fmt.Sprintf("HTTP status %d", e.Status)
	}
	return fmt.Sprintf("HTTP status %d: %s: %s", e.Status, e.Problem.Code, e.Problem.Detail)
}

// Temporary reports whether the same request may succeed later.
func (e *StatusError) Temporary() bool { return e.Status == 429 || e.Status >= 500 }

// REST calls the HTTP interface for one user.
type REST struct {
	Base  string // such as http://127.0.0.1:8080
	Token func(ctx context.Context) (string, error)
	// HTTP carries the calls, and the upgrade to WebSocket of a [Client]: whoever
	// has a proxy or certificates of their own says so here. nil =
	// http.DefaultClient.
	HTTP *http.Client
}

// Do sends one request and decodes the answer into out unless it is nil. path
// may carry a query. body nil means none. The error is a [*StatusError] for an
// answer other than 2xx, joined with ctx's if that ended while Do waited to send it
// again.
//
// What came too soon, 429, was not done: Do waits for as long as it is told and
// sends it again, for up to [LimitedWait] or until ctx ends. Everything else is the
// caller's to repeat; so is what is not answered within [CallLimit], which is unknown.
func (r *REST) Do(ctx context.Context, method, path string, body, out any) error {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	for late := time.Now().Add(LimitedWait); ; {
		err := r.once(ctx, method, path, content, out)
		var status *StatusError
		if !errors.As(err, &status) || status.Status != http.StatusTooManyRequests || status.RetryAfter == 0 {
			return err
		}
		// Others of this user may wait for the same moment.
		pause := status.RetryAfter + rand.N(status.RetryAfter/4+1)
		if time.Now().Add(pause).After(late) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// once sends one request, and not again.
func (r *REST) once(ctx context.Context, method, path string, content []byte, out any) error {
	var body io.Reader
	if content != nil {
		body = bytes.NewReader(content)
	}
	ctx, cancel := context.WithTimeout(ctx, CallLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, r.Base+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	token, err := r.Token(ctx)
	if err != nil {
		return fmt.Errorf("%s %s: token: %w", method, path, err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return r.exchange(request, out)
}

func (r *REST) exchange(request *http.Request, out any) error {
	client := r.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return err // names method and URL already
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return statusError(response)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: answer: %w", request.Method, request.URL.Path, err)
	}
	return nil
}

// Gateway asks where to open the WebSocket.
func (r *REST) Gateway(ctx context.Context) (url string, err error) {
	var answer wire.GatewayInfo
	err = r.Do(ctx, http.MethodGet, "/api/v1/gateway", nil, &answer)
	return answer.URL, err
}

// Direct returns the direct conversation with another user, created if need be.
func (r *REST) Direct(ctx context.Context, other chat.UserID) (chat.ConversationID, error) {
	return r.create(ctx, wire.CreateConversation{Type: chat.Direct.String(), MemberIDs: []chat.UserID{other}})
}

// Group creates a group. The same request id names the same group.
func (r *REST) Group(ctx context.Context, id chat.RequestID, name string, members []chat.UserID) (chat.ConversationID, error) {
	return r.create(ctx, wire.CreateConversation{
		Type: chat.Group.String(), Name: name, MemberIDs: members, ClientConversationID: &id,
	})
}

func (r *REST) create(ctx context.Context, body wire.CreateConversation) (chat.ConversationID, error) {
	var answer wire.Conversation
	err := r.Do(ctx, http.MethodPost, "/api/v1/conversations", body, &answer)
	return answer.ID, err
}

// History asks for a page; query holds the cursor and the limit, as in
// {"after_seq": {"17"}}.
func (r *REST) History(ctx context.Context, c chat.ConversationID, query url.Values) (wire.MessagePage, error) {
	var page wire.MessagePage
	err := r.Do(ctx, http.MethodGet, "/api/v1/conversations/"+c.String()+"/messages?"+query.Encode(), nil, &page)
	return page, err
}

// All reads the whole history above a seq, page by page.
func (r *REST) All(ctx context.Context, c chat.ConversationID, after chat.Seq) ([]wire.Message, error) {
	var all []wire.Message
	for {
		page, err := r.History(ctx, c, url.Values{
			"after_seq": {strconv.FormatInt(int64(after), 10)}, "limit": {strconv.Itoa(chat.PageMax)},
		})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Messages...)
		if !page.HasMore || len(page.Messages) == 0 {
			return all, nil
		}
		after = page.LastSeq
	}
}

// Sync tells the server what this client has and gets what lies above.
func (r *REST) Sync(ctx context.Context, have map[chat.ConversationID]chat.Seq) (wire.SyncResponse, error) {
	var answer wire.SyncResponse
	err := r.Do(ctx, http.MethodPost, "/api/v1/sync", wire.SyncRequest{Have: have}, &answer)
	return answer, err
}

// MarkRead says that the user has read everything up to a seq, and returns when
// that is in force.
func (r *REST) MarkRead(ctx context.Context, c chat.ConversationID, seq chat.Seq) error {
	return r.Do(ctx, http.MethodPost, "/api/v1/conversations/"+c.String()+"/read", wire.MarkRead{Seq: seq}, nil)
}

// Presence asks which of some users are online, or were when; at most 200 at a
// time. Those who share no conversation with this user are left out.
func (r *REST) Presence(ctx context.Context, users []chat.UserID) ([]wire.Presence, error) {
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = u.String()
	}
	var answer []wire.Presence
	err := r.Do(ctx, http.MethodGet, "/api/v1/presence?user_ids="+strings.Join(ids, ","), nil, &answer)
	return answer, err
}

// Search looks for messages in this user's conversations, the best first; the
// cursor is that of the page before, empty for the first. A page may be short and
// have another after it. What was just sent is found a moment later.
func (r *REST) Search(ctx context.Context, query, cursor string) (wire.SearchPage, error) {
	parameters := url.Values{"q": {query}}
	if cursor != "" {
		parameters.Set("cursor", cursor)
	}
	var answer wire.SearchPage
	err := r.Do(ctx, http.MethodGet, "/api/v1/search?"+parameters.Encode(), nil, &answer)
	return answer, err
}

// Members asks who is in a conversation, and how far each has received and read.
func (r *REST) Members(ctx context.Context, c chat.ConversationID) (wire.MemberList, error) {
	var answer wire.MemberList
	err := r.Do(ctx, http.MethodGet, "/api/v1/conversations/"+c.String()+"/members", nil, &answer)
	return answer, err
}
