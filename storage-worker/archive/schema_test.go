package archive_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"switchboard/storage-worker/archive"
)

// table is what both schemas say of a table.
type table struct {
	columns []string
	key     []string
}

// tables reads the CREATE TABLE statements of a schema, each column and the key
// on a line of its own.
func tables(t *testing.T, schema string) map[string]table {
	t.Helper()
	comments := regexp.MustCompile(`--.*`)
	statements := regexp.MustCompile(`(?s)CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)\n\)`)
	all := map[string]table{}
	for _, match := range statements.FindAllStringSubmatch(comments.ReplaceAllString(schema, ""), -1) {
		var tb table
		for line := range strings.Lines(match[2]) {
			line = strings.Trim(strings.TrimSpace(line), ",")
			if key, ok := strings.CutPrefix(line, "PRIMARY KEY "); ok {
				tb.key = regexp.MustCompile(`\w+`).FindAllString(key, -1)
			} else if line != "" {
				tb.columns = append(tb.columns, strings.Fields(line)[0])
			}
		}
		all[match[1]] = tb
	}
	return all
}

// The two schemas name the same things, except for what the head of schema.sql
// explains.
func TestSchemasSayTheSame(t *testing.T) {
	sql, cql := tables(t, archive.SchemaSQL), tables(t, archive.SchemaCQL)
	if len(cql) != 9 {
		t.Errorf("schema.cql has %d tables, want the 9 of the package comment", len(cql))
	}
	delete(cql, "heads")
	for name := range sql {
		if _, ok := cql[name]; !ok {
			t.Errorf("only schema.sql has %s", name)
		}
	}
	for name, want := range cql {
		got := sql[name]
		got.columns = slices.DeleteFunc(got.columns, func(column string) bool { return strings.HasSuffix(column, "written") })
		slices.Sort(got.columns)
		slices.Sort(want.columns)
		if !slices.Equal(got.columns, want.columns) {
			t.Errorf("columns of %s: SQLite %v, CQL %v", name, got.columns, want.columns)
		}
		if name == "conversations_of" {
			slices.Sort(got.key)
			slices.Sort(want.key)
		}
		if len(want.key) == 0 || !slices.Equal(got.key, want.key) {
			t.Errorf("key of %s: SQLite %v, CQL %v", name, got.key, want.key)
		}
	}
}

// What both Cassandra 5 and Scylla run.
func TestSchemaCQLIsPlain(t *testing.T) {
	for _, word := range []string{"counter", "INDEX", "MATERIALIZED", "UnifiedCompaction", "IF EXISTS", "cdc"} {
		code := regexp.MustCompile(`--.*`).ReplaceAllString(archive.SchemaCQL, "")
		if strings.Contains(code, word) {
			t.Errorf("schema.cql uses %s", word)
		}
	}
	if n := strings.Count(archive.SchemaCQL, ";"); n != 9 {
		t.Errorf("schema.cql has %d semicolons for 9 statements", n)
	}
	for _, want := range []string{"CLUSTERING ORDER BY (seq DESC)", "default_time_to_live = 691200"} {
		if !strings.Contains(archive.SchemaCQL, want) {
			t.Errorf("schema.cql lacks %s", want)
		}
	}
}
