package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/sqlite"
)

// victimPath is the environment variable that makes the test's program a
// victim, and names its file.
const victimPath = "SWITCHBOARD_TEST_VICTIM"

// victim writes without end, from some goroutines with a conversation each, and
// says on its output what was acknowledged: "conversation seq".
func victim(path string) error {
	s, err := sqlite.Open(context.Background(), path, sqlite.Config{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for c := range byte(4) {
		go func() {
			for seq := chat.Seq(1); ; seq += 2 {
				b := batchOf(c, seq)
				if err := s.Write(context.Background(), b); err != nil {
					failed <- err
				}
				if _, err := fmt.Fprintln(os.Stdout, c, seq+1); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

// batchOf is two events with all that stands beside them.
func batchOf(c byte, seq chat.Seq) *archive.Batch {
	conversation, user := chat.ConversationID{c}, chat.UserID{c}
	b := &archive.Batch{Records: 2}
	for _, r := range []archive.Row{
		row(conversation, seq, strings.Repeat("x", 100)), row(conversation, seq+1, strings.Repeat("y", 3000)),
	} {
		b.Rows = append(b.Rows, r)
		b.Seen = append(b.Seen, archive.Seen{Key: keyOf(conversation, r.Seq), Seq: r.Seq, ID: r.ID})
		b.Stays = append(b.Stays, archive.StayWrite{By: r.ID, Stay: archive.Stay{
			User: user, Conversation: conversation, Joined: 1, Head: archive.Tip{Seq: r.Seq, ID: r.ID},
		}})
		b.Marks = append(b.Marks, archive.Watermark{Conversation: conversation, User: user, Joined: 1, Read: r.Seq})
	}
	return b
}

func keyOf(c chat.ConversationID, seq chat.Seq) archive.Key {
	return archive.Key{Conversation: c, Request: chat.RequestID{byte(seq >> 16), byte(seq >> 8), byte(seq)}}
}

// run starts a victim on the file; read calls got with each acknowledgement
// until there are no more.
func run(t *testing.T, path string) (process *os.Process, read func(got func(c byte, seq chat.Seq)), wait func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), victimPath+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	read = func(got func(byte, chat.Seq)) {
		for lines.Scan() {
			var c byte
			var seq chat.Seq
			if _, err := fmt.Sscan(lines.Text(), &c, &seq); err != nil {
				t.Fatalf("the victim said %q", lines.Text())
			}
			got(c, seq)
		}
	}
	return cmd.Process, read, func() {
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			t.Errorf("the victim ended by itself: %v", err)
		}
	}
}

// Each time it dies at another moment, and the next one goes on writing the
// same from the beginning, as a fold would.
func TestWhatWasAcknowledgedSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	for round := range 6 {
		process, read, wait := run(t, path)
		acknowledged := map[chat.ConversationID]chat.Seq{}
		acks := 0
		read(func(c byte, seq chat.Seq) {
			acknowledged[chat.ConversationID{c}] = seq
			if acks++; acks == 37*(round+1) {
				if err := process.Signal(syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
		})
		wait()
		s := openAt(t, path, sqlite.Config{})
		for c, seq := range acknowledged {
			survived(t, s, c, seq)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// survived checks that everything up to seq is there, and nothing half.
func survived(t *testing.T, s *sqlite.Store, c chat.ConversationID, seq chat.Seq) {
	t.Helper()
	have := events(t, s, c)
	if have < seq || have%2 != 0 {
		t.Fatalf("conversation %d has %d events, %d were acknowledged, two at a time", c[0], have, seq)
	}
	var keys []archive.Key
	for n := chat.Seq(1); n <= have; n++ {
		keys = append(keys, keyOf(c, n))
	}
	seen, err := s.SeenKeys(t.Context(), keys)
	if err != nil || len(seen) != len(keys) {
		t.Errorf("conversation %d has %d of %d keys, %v", c[0], len(seen), len(keys), err)
	}
	stays, err := s.StaysIn(t.Context(), chat.UserID{c[0]}, c)
	if err != nil || len(stays) != 1 || stays[0].Head.Seq != have {
		t.Errorf("conversation %d has %d events and the index %+v, %v", c[0], have, stays, err)
	}
	mark, err := s.Watermark(t.Context(), c, chat.UserID{c[0]}, 1)
	if err != nil || mark.Read != have {
		t.Errorf("conversation %d has %d events and the mark %+v, %v", c[0], have, mark, err)
	}
}

func TestAFileThatAnotherProcessHas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	process, read, wait := run(t, path)
	tried := false
	read(func(byte, chat.Seq) {
		if tried {
			return
		}
		tried = true
		if _, err := sqlite.Open(t.Context(), path, sqlite.Config{}); !errors.Is(err, sqlite.ErrInUse) {
			t.Errorf("got %v, want ErrInUse", err)
		}
		if err := process.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	wait()
	openAt(t, path, sqlite.Config{}) // a dead process has no lock
}

// fillUp writes until the store says that it cannot, and returns how many
// events it acknowledged.
func fillUp(t *testing.T, s *sqlite.Store, c chat.ConversationID, from chat.Seq) chat.Seq {
	t.Helper()
	content := strings.Repeat("z", chat.ContentBytes)
	for seq := from; seq < from+10_000; seq++ {
		if err := s.Write(t.Context(), &archive.Batch{Rows: []archive.Row{row(c, seq, content)}}); err != nil {
			if !strings.Contains(err.Error(), "full") {
				t.Fatalf("got %v, want one that says full", err)
			}
			return seq - 1
		}
	}
	t.Fatal("the disk never became full")
	return 0
}

func TestAFileAtItsLimit(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "archive.db"), chat.ConversationID{1}
	s := openAt(t, path, sqlite.Config{MaxPages: 300})
	last := fillUp(t, s, c, 1)
	if got := events(t, s, c); got != last || last == 0 {
		t.Errorf("%d events after the limit, %d were acknowledged", got, last)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path, sqlite.Config{MaxPages: 600})
	if got := fillUp(t, s, c, last+1); got <= last || events(t, s, c) != got {
		t.Errorf("with a higher limit %d events, before %d", got, last)
	}
}

// A real disk, of 2 MiB, takes root to make.
func TestADiskThatIsFull(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c := chat.ConversationID{1}
	s := openAt(t, filepath.Join(disk, "archive.db"), sqlite.Config{})
	last := fillUp(t, s, c, 1)
	if got := events(t, s, c); got != last || last == 0 {
		t.Errorf("%d events on the full disk, %d were acknowledged", got, last)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if got := fillUp(t, s, c, last+1); got <= last || events(t, s, c) != got {
		t.Errorf("with room again %d events, before %d", got, last)
	}
}
