package sqlite_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"switchboard/internal/chat"
	"switchboard/internal/roster"
	"switchboard/internal/roster/rostertest"
	"switchboard/internal/roster/sqlite"
)

func TestStore(t *testing.T) {
	rostertest.Run(t, func(t *testing.T) (roster.Store, rostertest.Tables) {
		db := open(t, filepath.Join(t.TempDir(), "roster.db"))
		s, err := sqlite.New(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		return s, func(t *testing.T, c chat.ConversationID) []string { return tables(t, db, c) }
	})
}

func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// tables reads what [rostertest.Tables] wants.
func tables(t *testing.T, db *sql.DB, c chat.ConversationID) (all []string) {
	t.Helper()
	var kind, name string
	var created, updated, members, named int64
	err := db.QueryRowContext(t.Context(), `SELECT type, name, created_at, updated_at, members_version, name_version
		FROM conversations WHERE id = ?`, c[:]).Scan(&kind, &name, &created, &updated, &members, &named)
	if err == nil {
		all = append(all, fmt.Sprintf("conversation %s %q created %d updated %d versions %d %d",
			kind, name, created, updated, members, named))
	}
	rows, err := db.QueryContext(t.Context(), `SELECT user_id, role, joined_at FROM conversation_members
		WHERE conversation_id = ? ORDER BY user_id`, c[:])
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var user []byte
		var role string
		var joined int64
		if err := rows.Scan(&user, &role, &joined); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("member %s %s joined %d", chat.UserID(user), role, joined))
	}
	return all
}

func TestTheFileIsThereAfterItWasClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roster.db")
	c, u := chat.ConversationID{1}, chat.UserID{2}
	first, err := sqlite.New(t.Context(), open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	created := roster.Change{
		Conversation: c, Seq: 1, At: 5, What: chat.Created, Type: chat.Group, Creator: u, Added: []chat.UserID{u},
	}
	if err := first.Apply(t.Context(), []roster.Change{created}, roster.Progress{Generation: 1, Next: 1}); err != nil {
		t.Fatal(err)
	}
	second, err := sqlite.New(t.Context(), open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	got, err := second.Members(t.Context(), c, chat.UserID{}, 10)
	if want := (roster.Member{User: u, Role: chat.Admin, Joined: 5}); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
