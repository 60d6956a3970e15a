package search

import (
	"net/url"
	"strconv"
	"time"

	"switchboard/internal/chat"
)

// ReadRequest reads what a caller asks for from the query of a URL: q, what is looked
// for, and conversation_id, from, limit and cursor. from and conversation_id narrow q
// further. The scope is left to whoever calls it. The error is `bad_request`.
func ReadRequest(query string, caller chat.UserID) (*Request, error) {
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return nil, chat.Errorf(chat.BadRequest, "the query is malformed")
	}
	r := &Request{Caller: caller, Now: time.Now(), Cursor: parameters.Get("cursor")}
	for _, name := range []string{"q", "conversation_id", "from", "limit", "cursor"} {
		if len(parameters[name]) > 1 {
			return nil, chat.Errorf(chat.BadRequest, "%s is given more than once", name)
		}
	}
	if r.Query, err = parse(parameters.Get("q"), caller); err != nil {
		return nil, err
	}
	for name, key := range map[string]string{"from": "from", "conversation_id": "in"} {
		if parameters.Has(name) {
			if err := r.Query.only(key, parameters.Get(name), caller); err != nil {
				return nil, err
			}
		}
	}
	if parameters.Has("limit") {
		r.Limit, err = strconv.Atoi(parameters.Get("limit"))
		if err != nil || r.Limit < 1 || r.Limit > LimitMax {
			return nil, chat.Errorf(chat.BadRequest, "limit must be 1 to %d", LimitMax)
		}
	}
	return r, r.Query.check()
}
