package scylla

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/scylladb/gocqlx/v2"

	"switchboard/storage-worker/archive"
)

// ErrDiffers says that a keyspace or a table of our name is there and is another
// than ours, in a way that no program may change by itself.
var ErrDiffers = errors.New("keyspace is not as asked for")

// column is one column of a table, in the words of system_schema.columns.
type column struct {
	kind     string // partition_key, clustering or regular
	position int    // among those of the key, −1 for others
	order    string // of clustering columns: asc or desc; else none
	cqlType  string
}

// String says what a column is.
func (c column) String() string {
	switch c.kind {
	case "regular":
		return c.cqlType
	case "clustering":
		return fmt.Sprintf("%s, clustering column %d %s", c.cqlType, c.position+1, c.order)
	default:
		return fmt.Sprintf("%s, %s %d", c.cqlType, c.kind, c.position+1)
	}
}

// table is one of schema.cql, or one that is there. Of what the schema leaves to
// the server nothing is kept.
type table struct {
	name, text string // text: the statement that makes it
	columns    map[string]column
	ttl, grace int // default_time_to_live and gc_grace_seconds; grace 0: the server's
	compaction map[string]string
}

// schemaTables reads schema.cql: no statement has a semicolon inside, and no
// word of a statement has two dashes.
func schemaTables() (all []table) {
	code := regexp.MustCompile(`--.*`).ReplaceAllString(archive.SchemaCQL, "")
	name := regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS (\w+)`)
	for text := range strings.SplitSeq(code, ";") {
		text = strings.TrimSpace(text)
		if found := name.FindStringSubmatch(text); found != nil {
			all = append(all, parseTable(found[1], text))
		}
	}
	return all
}

// parseTable reads what a statement of schema.cql asks for: a column a line, then
// the key, then the options.
func parseTable(name, text string) table {
	t := table{name: name, text: text, columns: make(map[string]column), compaction: make(map[string]string)}
	columns, rest, _ := strings.Cut(text, "PRIMARY KEY")
	for _, found := range regexp.MustCompile(`(?m)^\s+(\w+)\s+(\w+),`).FindAllStringSubmatch(columns, -1) {
		t.columns[found[1]] = column{kind: "regular", position: -1, order: "none", cqlType: found[2]}
	}
	key, options, _ := strings.Cut(rest, "\n)")
	partition, clustering, _ := strings.Cut(key, ")")
	word := regexp.MustCompile(`\w+`)
	for i, name := range word.FindAllString(partition, -1) {
		t.columns[name] = column{kind: "partition_key", position: i, order: "none", cqlType: t.columns[name].cqlType}
	}
	for i, name := range word.FindAllString(clustering, -1) {
		order := "asc"
		if strings.Contains(options, "("+name+" DESC)") {
			order = "desc"
		}
		t.columns[name] = column{kind: "clustering", position: i, order: order, cqlType: t.columns[name].cqlType}
	}
	t.ttl = numberAfter(options, "default_time_to_live = ")
	t.grace = numberAfter(options, "gc_grace_seconds = ")
	for _, found := range regexp.MustCompile(`'(\w+)': '(\w+)'`).FindAllStringSubmatch(options, -1) {
		t.compaction[found[1]] = found[2]
	}
	return t
}

// numberAfter returns the number behind a word, or 0.
func numberAfter(text, word string) int {
	_, rest, _ := strings.Cut(text, word)
	n, _ := strconv.Atoi(regexp.MustCompile(`^\d*`).FindString(rest))
	return n
}

// compareColumns says which columns a table lacks and can get, and what is wrong
// with those that it has. More columns than ours are those of a later version.
func (t table) compareColumns(found table) (missing, different []string) {
	for _, name := range slices.Sorted(maps.Keys(t.columns)) {
		want := t.columns[name]
		got, ok := found.columns[name]
		switch {
		case !ok && want.kind == "regular":
			missing = append(missing, name)
		case !ok:
			different = append(different, fmt.Sprintf("table %s has no column %s (%v)", t.name, name, want))
		case got != want:
			different = append(different, fmt.Sprintf("column %s of table %s is %v, want %v", name, t.name, got, want))
		}
	}
	return missing, different
}

// compareOptions says which options of a table are not those of the schema. A
// default time to live where none is wanted would make history vanish.
func (t table) compareOptions(found table) (different []string) {
	say := func(option, got, want string) {
		different = append(different, fmt.Sprintf("table %s has %s = %s, want %s (ALTER TABLE %s WITH %s = %s)",
			t.name, option, got, want, t.name, option, want))
	}
	if found.ttl != t.ttl {
		say("default_time_to_live", strconv.Itoa(found.ttl), strconv.Itoa(t.ttl))
	}
	if t.grace != 0 && found.grace != t.grace {
		say("gc_grace_seconds", strconv.Itoa(found.grace), strconv.Itoa(t.grace))
	}
	for option, want := range t.compaction {
		got := found.compaction[option]
		if option == "class" { // With or without the package's name.
			got = got[strings.LastIndexByte(got, '.')+1:]
		}
		if got != want {
			say("compaction", literal(found.compaction), literal(t.compaction))
			break
		}
	}
	return different
}

// literal writes a map as CQL does.
func literal(options map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(options)) {
		all = append(all, fmt.Sprintf("'%s': '%s'", name, options[name]))
	}
	return "{" + strings.Join(all, ", ") + "}"
}

// tablesOf returns the tables that a keyspace has.
func tablesOf(ctx context.Context, session gocqlx.Session, keyspace string) (map[string]table, error) {
	all := make(map[string]table)
	const tables = `SELECT table_name, default_time_to_live, gc_grace_seconds, compaction FROM system_schema.tables WHERE keyspace_name = ?`
	rows := session.ContextQuery(ctx, tables, nil).Bind(keyspace).Iter()
	for t := (table{}); rows.Scan(&t.name, &t.ttl, &t.grace, &t.compaction); t = (table{}) {
		t.columns = make(map[string]column)
		all[t.name] = t
	}
	if err := rows.Close(); err != nil {
		return nil, fmt.Errorf("list the tables of %s: %w", keyspace, err)
	}
	const columns = `SELECT table_name, column_name, kind, position, clustering_order, type FROM system_schema.columns WHERE keyspace_name = ?`
	rows = session.ContextQuery(ctx, columns, nil).Bind(keyspace).Iter()
	var in, name string
	for c := (column{}); rows.Scan(&in, &name, &c.kind, &c.position, &c.order, &c.cqlType); {
		if t, ok := all[in]; ok {
			t.columns[name] = c
		}
	}
	if err := rows.Close(); err != nil {
		return nil, fmt.Errorf("list the columns of %s: %w", keyspace, err)
	}
	// Two nodes may have answered, and the second not know yet what is just made.
	maps.DeleteFunc(all, func(_ string, t table) bool { return len(t.columns) == 0 })
	return all, nil
}
