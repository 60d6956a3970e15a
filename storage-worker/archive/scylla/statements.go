package scylla

import "github.com/scylladb/gocqlx/v2/qb"

// statement is one text that is prepared once in each node, and the names of
// its parameters in their order.
type statement struct {
	text  string
	names []string
	table tableID
}

// built finishes a statement on a table.
func built(t tableID, b interface{ ToCql() (string, []string) }) statement {
	text, names := b.ToCql()
	return statement{text, names, t}
}

// insert writes the columns given; the last parameter is the write timestamp.
func insert(t tableID, columns ...string) statement {
	return built(t, qb.Insert(t.String()).Columns(columns...).TimestampNamed("timestamp"))
}

// update sets columns of a row of members or watermarks. Unlike an insert it
// makes no row of its own. Its first parameter is the write timestamp.
func update(t tableID, columns ...string) statement {
	return built(t, qb.Update(t.String()).TimestampNamed("timestamp").Set(columns...).
		Where(qb.Eq("conversation_id"), qb.Eq("user_id"), qb.Eq("joined_seq")))
}

// find reads the columns of the rows whose keys are given.
func find(t tableID, columns []string, keys ...string) *qb.SelectBuilder {
	b := qb.Select(t.String()).Columns(columns...)
	for _, k := range keys {
		b.Where(qb.Eq(k))
	}
	return b
}

// entryColumns are what scanRow reads.
var entryColumns = []string{
	"seq", "message_id", "sender_id", "request_id", "content", "message_type", "media_url",
	"reply_to", "change", "user_id", "role", "name", "members_version", "generation", "inbound_offset",
}

var (
	tipColumns  = []string{"seq", "message_id"}
	stayColumns = []string{"conversation_id", "joined_seq", "left_seq", "head_seq", "head_id", "large"}
	markColumns = []string{"user_id", "joined_seq", "read_seq", "delivered_seq"}
)

// What is written.
var (
	putMessage = insert(messages, "conversation_id", "bucket", "seq", "message_id", "sender_id", "request_id",
		"content", "message_type", "media_url", "created_at", "reply_to", "change", "user_id", "role", "name",
		"members_version", "generation", "inbound_offset")
	putKey = insert(messageKeys, "conversation_id", "sender_id", "request_id", "generation", "inbound_offset",
		"seq", "message_id", "digest")
	putConversation = insert(conversations, "conversation_id", "type", "creator", "created", "name")
	putHead         = insert(heads, "conversation_id", "seq", "message_id")
	putOpened       = insert(members, "conversation_id", "user_id", "joined_seq", "role", "message_id")
	putClosed       = update(members, "left_seq")
	putStay         = insert(conversationsOf, "user_id", "conversation_id", "joined_seq", "head_seq", "head_id", "large", "left_seq")
	putRead         = update(watermarks, "read_seq")
	putDelivered    = update(watermarks, "delivered_seq")
	putBoth         = update(watermarks, "read_seq", "delivered_seq")
	putMedia        = insert(mediaRefs, "media_id", "conversation_id", "message_id")
	putProgress     = insert(progress, "generation", "partition", "inbound_offset", "clock")
)

// What is read.
var (
	getHead     = built(heads, find(heads, []string{"seq"}, "conversation_id"))
	getNewest   = built(messages, find(messages, tipColumns, "conversation_id", "bucket").Limit(1))
	getUpTo     = built(messages, find(messages, tipColumns, "conversation_id", "bucket").Where(qb.LtOrEq("seq")).Limit(1))
	getHighest  = built(messages, page())
	getLowest   = built(messages, page().OrderBy("seq", qb.ASC))
	getInfo     = built(conversations, find(conversations, []string{"type", "creator", "created", "name"}, "conversation_id"))
	getSpans    = built(members, find(members, []string{"user_id", "joined_seq", "left_seq", "role", "message_id"}, "conversation_id"))
	getSeen     = built(messageKeys, find(messageKeys, []string{"generation", "inbound_offset", "seq", "message_id", "digest"}, "conversation_id", "sender_id", "request_id"))
	getStays    = built(conversationsOf, find(conversationsOf, stayColumns, "user_id"))
	getStaysIn  = built(conversationsOf, find(conversationsOf, stayColumns, "user_id", "conversation_id"))
	getMarks    = built(watermarks, find(watermarks, markColumns, "conversation_id"))
	getMark     = built(watermarks, find(watermarks, markColumns, "conversation_id", "user_id", "joined_seq"))
	getMedia    = built(mediaRefs, find(mediaRefs, []string{"conversation_id", "message_id"}, "media_id").LimitNamed("limit"))
	getProgress = built(progress, find(progress, []string{"inbound_offset", "clock"}, "generation", "partition"))
)

// page reads a part of one bucket, newest first, which is how it lies there.
func page() *qb.SelectBuilder {
	return find(messages, entryColumns, "conversation_id", "bucket").
		Where(qb.GtOrEqNamed("seq", "from"), qb.LtOrEqNamed("seq", "to")).LimitNamed("limit")
}
