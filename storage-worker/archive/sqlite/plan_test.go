package sqlite

import (
	"path/filepath"
	"strings"
	"testing"
)

// Every read begins at its place in an index: none walks a table, and none
// sorts what it found. The clocks alone are read whole: a row a partition.
func TestReadsAreSearches(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, text := range s.reader.texts {
		if text == selectClocks {
			continue
		}
		args := make([]any, strings.Count(text, "?"))
		for i := range args {
			args[i] = 1
		}
		rows, err := s.reader.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(step, "TEMP B-TREE") || strings.HasPrefix(step, "SCAN") {
				t.Errorf("%s\n%s", text, step)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
}
