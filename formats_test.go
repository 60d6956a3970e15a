package switchboard_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bufbuild/protocompile"
	goredis "github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/reflect/protoreflect"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/presence/embedded"
	"switchboard/internal/presence/redis"
	"switchboard/internal/roster/postgres"
	"switchboard/storage-worker/archive"
)

// formats returns the rows of the n-th table below a heading of the page of
// formats.
func formats(t *testing.T, heading string, n int) [][]string {
	t.Helper()
	return rowsOf(t, "docs/formats.md", heading, n)
}

// rowsOf returns the rows of a table, without its head and without the marks of
// code.
func rowsOf(t *testing.T, file, heading string, n int) [][]string {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", file, heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var tables [][][]string
	inside := false
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		row := strings.HasPrefix(line, "|")
		switch {
		case row && !inside:
			tables = append(tables, nil)
		case row && !strings.HasPrefix(line, "|---"):
			cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), "`", ""), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			tables[len(tables)-1] = append(tables[len(tables)-1], cells)
		}
		inside = row
	}
	if len(tables) <= n || len(tables[n]) == 0 {
		t.Fatalf("section %q has no table %d", heading, n)
	}
	return tables[n]
}

// same compares what a row of the page says with what the code says.
func same(t *testing.T, what string, page, code any) {
	t.Helper()
	if fmt.Sprint(page) != fmt.Sprint(code) {
		t.Errorf("%s: the page says %v, the code %v", what, page, code)
	}
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// uuid reads an id, to be used as an id of any kind.
func uuid(t *testing.T, s string) [16]byte {
	t.Helper()
	id, err := chat.ParseRequestID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestFormatTopics(t *testing.T) {
	first := append(bus.Topics(1, 256), bus.DeliveryLog("gw-7"))
	second := append(bus.Topics(2, 256), bus.DeliveryLog("gw-7"))
	rows := formats(t, "Topics", 0)
	same(t, "topics", len(rows), len(first))
	for i, row := range rows {
		same(t, "topic", row[0], first[i].Name)
		same(t, "topic of generation 2", row[1], second[i].Name)
		kept, err := time.ParseDuration(row[4])
		if err != nil {
			t.Fatal(err)
		}
		same(t, row[0]+" is kept for", kept, first[i].Retention)
	}
}

func TestFormatPartitions(t *testing.T) {
	for _, row := range formats(t, "Partitions", 0) {
		id := chat.ConversationID(uuid(t, row[0]))
		hash, err := strconv.ParseUint(row[1], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		// Modulo the largest number there is, a partition is the hash itself.
		same(t, "hash of "+row[0], hash&0x7fffffff, bus.PartitionOf(id, 1<<31-1))
		for i, partitions := range []int32{16, 256, 1024} {
			same(t, "partition of "+row[0], row[2+i], bus.PartitionOf(id, partitions))
		}
	}
}

func TestFormatRecords(t *testing.T) {
	compiler := protocompile.Compiler{Resolver: &protocompile.SourceResolver{ImportPaths: []string{"internal/bus"}}}
	files, err := compiler.Compile(context.Background(), "records.proto")
	if err != nil {
		t.Fatal(err)
	}
	messages := files[0].Messages()
	rows := formats(t, "Records", 0)
	same(t, "messages", len(rows), messages.Len())
	for i, row := range rows {
		m := messages.Get(i)
		same(t, "message", row[0], m.Name())
		var fields []string
		for j := range m.Fields().Len() {
			fields = append(fields, fieldText(m.Fields().Get(j)))
		}
		same(t, row[0], row[1], strings.Join(fields, ", "))
	}
	same(t, "codec", 1, bus.Codec)
}

// fieldText returns a field as the page writes it: number, name, type.
func fieldText(f protoreflect.FieldDescriptor) string {
	kind := f.Kind().String()
	if f.Message() != nil {
		kind = string(f.Message().Name())
	}
	if f.IsList() {
		kind = "repeated " + kind
	}
	return fmt.Sprintf("%d %s %s", f.Number(), f.Name(), kind)
}

func TestFormatWords(t *testing.T) {
	for _, row := range formats(t, "Records", 1) {
		n := number(t, row[1])
		var word string
		switch row[2] {
		case "kind":
			word = chat.Kind(n).String()
		case "change":
			word = chat.Change(n).String()
		case "type":
			word = chat.Type(n).String()
		case "role":
			word = chat.Role(n).String()
		case "outcome":
			word = bus.Outcome(n).String()
		case "status":
			word = chat.Status(n).String()
		case "presence":
			word = chat.Presence(n).String()
		case "class":
			word = map[bus.Class]string{bus.Durable: "durable", bus.Latest: "latest wins", bus.Signal: "signal"}[bus.Class(n)]
		}
		same(t, row[2]+" "+row[1], row[0], word)
	}
}

func TestFormatMessageIDs(t *testing.T) {
	for _, row := range formats(t, "Message ids", 0) {
		clock := chat.Clock(number(t, row[0]))
		id := chat.NewMessageID(clock, uint32(number(t, row[1])), uint32(number(t, row[2])))
		same(t, "message id", row[3], id)
		same(t, "clock of "+row[3], row[0], int64(chat.ClockOf(id)))
	}
}

func TestFormatConversationIDs(t *testing.T) {
	for _, row := range formats(t, "Conversation ids", 0) {
		var id fmt.Stringer
		switch row[0] {
		case "direct":
			id = chat.DirectConversation(uuid(t, row[1]), uuid(t, row[2]))
		case "group":
			id = chat.GroupConversation(uuid(t, row[1]), uuid(t, row[2]))
		case "demo":
			id = chat.DemoUser(row[1])
		}
		same(t, strings.Join(row[:3], " "), row[3], id)
	}
}

func TestFormatNumbers(t *testing.T) {
	rows := formats(t, "Numbers that outcomes depend on", 0)
	code := []any{1, chat.BucketSize, chat.LargeAbove, "168h", "192h"}
	same(t, "numbers", len(rows), len(code))
	for i, row := range rows {
		same(t, row[0], row[1], code[i])
	}
	same(t, "key window", 168*time.Hour, chat.KeyWindow)
	same(t, "key TTL", 192*time.Hour, chat.KeyTTL)
	same(t, "last of the first bucket", 0, chat.Seq(chat.BucketSize).Bucket())
	same(t, "first of the second bucket", 1, chat.Seq(chat.BucketSize+1).Bucket())
}

func TestFormatDigests(t *testing.T) {
	requests := map[string]*bus.Inbound{
		"text": {Send: &bus.Send{Kind: chat.KindText, Content: "hi"}},
		"image": {Send: &bus.Send{
			Kind: chat.KindImage, MediaURL: "https://media.example.com/m/4f2a?mac=9c",
			ReplyTo: uuid(t, "98fc0002-b5c6-11f1-8001-010000000007"),
		}},
		"group": {Create: &bus.Create{
			Type: chat.Group, Name: "Friday",
			Members: []chat.UserID{chat.DemoUser("alice"), chat.DemoUser("bob"), chat.DemoUser("carol")}, Limit: 500,
		}},
	}
	for _, row := range formats(t, "Duplicate keys", 0) {
		b, err := hex.DecodeString(strings.ReplaceAll(row[1], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "digest of the bytes of "+row[0], row[2], fmt.Sprintf("%x", sha256.Sum256(b)))
		same(t, "digest of "+row[0], row[2], fmt.Sprintf("%x", bus.DigestOf(requests[row[0]])))
	}
}

// archiveTables returns the primary key and the columns of each table of a
// schema.
func archiveTables(t *testing.T, schema string) map[string][2]string {
	t.Helper()
	comments := regexp.MustCompile(`--.*`)
	create := regexp.MustCompile(`(?s)CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?),\s*PRIMARY KEY (\(.*?\))\s*\n\)`)
	tables := make(map[string][2]string)
	for _, found := range create.FindAllStringSubmatch(comments.ReplaceAllString(schema, ""), -1) {
		var columns []string
		for column := range strings.SplitSeq(found[2], ",") {
			columns = append(columns, strings.Join(strings.Fields(column), " "))
		}
		tables[found[1]] = [2]string{found[3], strings.Join(columns, ", ")}
	}
	return tables
}

func TestFormatArchive(t *testing.T) {
	cql, sql := archiveTables(t, archive.SchemaCQL), archiveTables(t, archive.SchemaSQL)
	made := 0
	for _, row := range formats(t, "Archive tables", 0) {
		if row[2] == "reserved" {
			same(t, row[0]+" is made", "", cql[row[0]][0])
			continue
		}
		made++
		same(t, "key of "+row[0], row[1], cql[row[0]][0])
		same(t, "columns of "+row[0], row[3], cql[row[0]][1])
		if row[2] != "none" {
			sameInSQLite(t, row, sql[row[0]])
		}
	}
	same(t, "tables in CQL", made, len(cql))
	same(t, "tables in SQLite", made-1, len(sql))
}

// sameInSQLite compares a row of the page with a table in SQLite, whose types
// are its own.
func sameInSQLite(t *testing.T, row []string, table [2]string) {
	t.Helper()
	key := row[2]
	if key == "the same" {
		key = "(" + strings.NewReplacer("(", "", ")", "").Replace(row[1]) + ")"
	}
	same(t, "key of "+row[0]+" in SQLite", key, table[0])
	for column := range strings.SplitSeq(row[3], ", ") {
		name, _, _ := strings.Cut(column, " ")
		if !strings.Contains(", "+table[1], ", "+name+" ") {
			t.Errorf("%s in SQLite has no column %s: %s", row[0], name, table[1])
		}
	}
}

// heldAt returns what a key of Redis holds, as the page shows it.
func heldAt(ctx context.Context, raw *goredis.Client, kind, key string) (held []string) {
	switch kind {
	case "hash":
		for field, value := range raw.HGetAll(ctx, key).Val() {
			if !utf8.ValidString(field) {
				field = hex.EncodeToString([]byte(field))
			}
			held = append(held, field)
			held = append(held, strings.Fields(value)...)
		}
	case "zset":
		for _, z := range raw.ZRangeWithScores(ctx, key, 0, -1).Val() {
			held = append(held, z.Member.(string), strconv.FormatFloat(z.Score, 'f', -1, 64))
		}
	default:
		held = []string{raw.Get(ctx, key).Val()}
	}
	return held
}

func TestFormatPresence(t *testing.T) {
	ctx := context.Background()
	server, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	directory, err := redis.Open(redis.Config{
		Addrs: []string{server.Addr()}, Now: func() time.Time { return time.Unix(1_790_000_000, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer directory.Close()
	route := presence.Route{Slot: "gw-7", Boot: 0x2a, Session: 3, Device: "phone"}
	if err := directory.Claim(ctx, route.Slot, route.Boot); err != nil {
		t.Fatal(err)
	}
	left := presence.Route{Slot: "gw-7", Boot: 0x2a, Session: 2}
	if _, err := directory.Apply(ctx, []presence.Change{
		{User: chat.DemoUser("alice"), Route: route, Begins: true},
		{User: chat.DemoUser("alice"), Route: left, Remove: true, Ended: time.Unix(1_790_000_000, 0)},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.NoticeOnline(ctx, []chat.UserID{chat.DemoUser("alice")}); err != nil {
		t.Fatal(err)
	}
	raw := goredis.NewClient(&goredis.Options{Addr: server.Addr()})
	defer raw.Close()
	rows := formats(t, "Presence keys", 0)
	for _, row := range rows {
		words := strings.Fields(row[3])
		kind := strings.TrimSuffix(strings.Fields(row[1])[0], ",")
		same(t, "type of "+words[0], kind, raw.Type(ctx, words[0]).Val())
		same(t, words[0], words[1:], heldAt(ctx, raw, kind, words[0]))
	}
	same(t, "keys", len(rows), raw.DBSize(ctx).Val())
	same(t, "time to live of a lease", 15*time.Second, presence.LeaseTTL)
	same(t, "time to live of a boot", 10*time.Minute, presence.RouteTTL)
	same(t, "time to live of a notice", 30*24*time.Hour, presence.NoticeFor)
	same(t, "time to live of a sighting", 30*24*time.Hour, presence.LastSeenFor)
}

func TestFormatRoster(t *testing.T) {
	tables := archiveTables(t, postgres.Schema)
	rows := formats(t, "Roster tables", 0)
	same(t, "tables of the roster", len(rows), len(tables))
	for _, row := range rows {
		same(t, "primary key of "+row[0], row[1], tables[row[0]][0])
		same(t, "columns of "+row[0], row[2], tables[row[0]][1])
	}
}

func TestFormatErrorCodes(t *testing.T) {
	for _, row := range formats(t, "Error codes", 0) {
		code := chat.Code(row[0])
		temporary := map[bool]string{true: "yes", false: "no"}
		same(t, row[0], row[1:], []string{strconv.Itoa(code.Status()), temporary[code.Temporary()]})
	}
	constants(t, "Code", len(formats(t, "Error codes", 0)))
}

func TestFormatCloseCodes(t *testing.T) {
	rows := formats(t, "Close codes", 0)
	for _, row := range rows {
		same(t, "close code "+row[0], row[1], chat.CloseCode(number(t, row[0])).Reason())
	}
	constants(t, "CloseCode", len(rows))
}

// constants counts the constants of a type in the source, so that one which the
// page does not have is noticed.
func constants(t *testing.T, kind string, want int) {
	t.Helper()
	source, err := os.ReadFile("internal/chat/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	got := len(regexp.MustCompile(`(?m)^\t\w+ +`+kind+` += `).FindAll(source, -1))
	same(t, "constants of "+kind, want, got)
}
