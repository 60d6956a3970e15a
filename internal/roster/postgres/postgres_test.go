package postgres_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"switchboard/internal/chat"
	"switchboard/internal/devices"
	"switchboard/internal/devices/devicestest"
	"switchboard/internal/roster"
	"switchboard/internal/roster/postgres"
	"switchboard/internal/roster/rostertest"
)

// The environment variables with the URL of a PostgreSQL in which tests may make
// schemas, without which they are skipped; and, for one that is secured, with the
// files of its password and its certificate authority.
const (
	address  = "SWITCHBOARD_TEST_POSTGRES"
	password = "SWITCHBOARD_TEST_POSTGRES_PASSWORD"
	vouches  = "SWITCHBOARD_TEST_POSTGRES_CA"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server says where PostgreSQL is, or skips the test.
func server(tb testing.TB) postgres.Config {
	tb.Helper()
	c := postgres.Config{URL: os.Getenv(address), Timeout: time.Minute}
	if c.URL == "" {
		tb.Skipf("%s is not set: no PostgreSQL to test with", address)
	}
	if name := os.Getenv(password); name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		c.Password = strings.TrimSpace(string(text))
	}
	if name := os.Getenv(vouches); name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		c.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		if !c.TLS.RootCAs.AppendCertsFromPEM(text) {
			tb.Fatalf("%s: no certificate", name)
		}
	}
	return c
}

// schema makes a schema of the test's own, which is dropped at its end, and
// returns where it is.
func schema(tb testing.TB) postgres.Config {
	tb.Helper()
	c := server(tb)
	u, err := url.Parse(c.URL)
	if err != nil {
		tb.Fatal(err)
	}
	name := "test_" + strings.ReplaceAll(chat.NewRequestID().String(), "-", "")
	execute(tb, c, "CREATE SCHEMA "+name)
	tb.Cleanup(func() { execute(tb, server(tb), "DROP SCHEMA "+name+" CASCADE") })
	query := u.Query()
	query.Set("search_path", name)
	u.RawQuery = query.Encode()
	c.URL = u.String()
	return c
}

// connect returns a connection of its own, which also works in a cleanup, when the
// test's context has ended.
func connect(tb testing.TB, c postgres.Config) *pgx.Conn {
	tb.Helper()
	config, err := pgx.ParseConfig(c.URL)
	if err != nil {
		tb.Fatal(err)
	}
	if c.TLS != nil {
		config.Password, config.Fallbacks = c.Password, nil
		config.TLSConfig = c.TLS.Clone()
		config.TLSConfig.ServerName = config.Host
	}
	conn, err := pgx.ConnectConfig(context.WithoutCancel(tb.Context()), config)
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// execute runs one statement.
func execute(tb testing.TB, c postgres.Config, text string) {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context())
	conn := connect(tb, c)
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, text); err != nil {
		tb.Fatal(err)
	}
}

func migrate(tb testing.TB, c postgres.Config) []string {
	tb.Helper()
	made, err := postgres.Migrate(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	return made
}

func open(tb testing.TB, c postgres.Config) *postgres.Store {
	tb.Helper()
	s, err := postgres.Open(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

func TestStore(t *testing.T) {
	c := schema(t)
	migrate(t, c)
	rostertest.Run(t, func(t *testing.T) (roster.Store, rostertest.Tables) {
		return open(t, c), func(t *testing.T, id chat.ConversationID) []string { return tables(t, c, id) }
	})
}

// tables reads what [rostertest.Tables] wants.
func tables(t *testing.T, c postgres.Config, id chat.ConversationID) (all []string) {
	t.Helper()
	conn := connect(t, c)
	defer conn.Close(t.Context())
	var kind, name, user, role string
	var created, updated, joined time.Time
	var members, named int64
	err := conn.QueryRow(t.Context(), `SELECT type, name, created_at, updated_at, members_version, name_version
		FROM conversations WHERE id = $1`, id.String()).Scan(&kind, &name, &created, &updated, &members, &named)
	if err == nil {
		all = append(all, fmt.Sprintf("conversation %s %q created %d updated %d versions %d %d",
			kind, name, created.UnixMicro(), updated.UnixMicro(), members, named))
	}
	rows, err := conn.Query(t.Context(), `SELECT user_id::text, role, joined_at FROM conversation_members
		WHERE conversation_id = $1 ORDER BY user_id`, id.String())
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&user, &role, &joined}, func() error {
			all = append(all, fmt.Sprintf("member %s %s joined %d", user, role, joined.UnixMicro()))
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMigrateMakesWhatIsMissing(t *testing.T) {
	c := schema(t)
	if _, err := postgres.Open(t.Context(), c); !errors.Is(err, roster.ErrSchema) {
		t.Errorf("without tables: got %v, want ErrSchema", err)
	}
	all := []string{
		"table conversations", "table conversation_members", "index idx_user_conversations",
		"index idx_conversations_updated", "index idx_conversations_name", "table roster_progress",
		"table push_devices", "index idx_push_devices_address", "table push_reads",
	}
	if made := migrate(t, c); !slices.Equal(made, all) {
		t.Errorf("got %q, want %q", made, all)
	}
	if made := migrate(t, c); len(made) != 0 {
		t.Errorf("the second time: got %q", made)
	}
	execute(t, c, `DROP INDEX idx_conversations_updated`)
	if made := migrate(t, c); !slices.Equal(made, all[3:4]) {
		t.Errorf("after an index was dropped: got %q", made)
	}
	execute(t, c, `ALTER TABLE conversations DROP COLUMN members_version`)
	if _, err := postgres.Open(t.Context(), c); !errors.Is(err, roster.ErrSchema) {
		t.Errorf("without a column: got %v, want ErrSchema", err)
	}
}

func TestManyMigrateAtTheSameTime(t *testing.T) {
	c := schema(t)
	var all sync.WaitGroup
	made := make([][]string, 6)
	for i := range made {
		all.Go(func() {
			var err error
			if made[i], err = postgres.Migrate(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := slices.Concat(made...); len(got) != 9 {
		t.Errorf("made %q, want each of 9 once", got)
	}
}

// Two projectors that apply different partitions name the same conversation only
// across generations; whatever they name, neither may be ended as a deadlock.
func TestProjectorsDoNotDeadlock(t *testing.T) {
	c := schema(t)
	migrate(t, c)
	s := open(t, c)
	users := []chat.UserID{{1}, {2}}
	var ids []chat.ConversationID
	for range 40 {
		ids = append(ids, chat.ConversationID(chat.NewRequestID()))
	}
	var projectors sync.WaitGroup
	for p := range int32(4) {
		projectors.Go(func() {
			for round := range int64(20) {
				var changes []roster.Change
				for i := range ids {
					id := ids[(i+int(p)*10)%len(ids)]
					changes = append(changes,
						roster.Change{Conversation: id, Seq: 1, What: chat.Created, Type: chat.Group, Creator: users[0], Added: users},
						roster.Change{Conversation: id, Seq: 2 + chat.Seq(round), What: chat.RoleChanged, User: users[1], Role: chat.Admin})
				}
				if err := s.Apply(t.Context(), changes, roster.Progress{Generation: 1, Partition: p, Next: round}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	projectors.Wait()
}

func TestAWrongAddressIsOneClearLine(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://app@127.0.0.1:1/x": "connect",
		"postgres://%zz":               "URL",
	} {
		_, err := postgres.Open(t.Context(), postgres.Config{URL: url, Password: "s3cret"})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, want something about %q and no password", url, err, want)
		}
	}
}

// A server that is secured lets nobody in without its password, nor anybody who
// does not trust its certificate.
func TestASecuredServer(t *testing.T) {
	if os.Getenv(password) == "" || os.Getenv(vouches) == "" {
		t.Skipf("%s or %s is not set: no secured PostgreSQL to test with", password, vouches)
	}
	c := schema(t)
	migrate(t, c)
	s, users := open(t, c), []chat.UserID{{1}, {2}}
	pair := roster.Change{Conversation: chat.ConversationID{1}, Seq: 1, What: chat.Created, Type: chat.Direct, Added: users}
	if err := s.Apply(t.Context(), []roster.Change{pair}, roster.Progress{Generation: 1}); err != nil {
		t.Error(err)
	}
	if peers, err := s.Peers(t.Context(), users[0], 1); err != nil || !slices.Equal(peers, users[1:]) {
		t.Errorf("got %v, %v", peers, err)
	}
	wrong, stranger, host := c, c, c
	wrong.Password = "not this one"
	stranger.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	host.TLS = c.TLS.Clone()
	host.TLS.ServerName = "elsewhere.example"
	for want, c := range map[string]postgres.Config{
		"password authentication failed": wrong, "unknown authority": stranger, "elsewhere.example": host,
	} {
		_, err := postgres.Migrate(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "not this one") {
			t.Errorf("got %v, want something about %q", err, want)
		}
	}
}

func TestDevices(t *testing.T) {
	devicestest.Run(t, func(t *testing.T) devices.Store {
		c := schema(t)
		migrate(t, c)
		return open(t, c).Devices()
	})
}

func TestDevicesWithoutTheirTables(t *testing.T) {
	c := schema(t)
	s, err := postgres.Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if _, err := s.Devices().Of(t.Context(), []chat.UserID{{}}); !errors.Is(err, devices.ErrSchema) {
		t.Errorf("got %v, want that the tables are missing", err)
	}
}
