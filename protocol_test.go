package switchboard_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"switchboard/internal/chat"
)

const protocolPage = "docs/protocol.md"

// The examples of the page are the golden frames, each of them and nothing else.
func TestProtocolExamplesAreTheGoldenFrames(t *testing.T) {
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1) {
		shown[string(block[1])] = true
	}
	files, err := filepath.Glob("internal/wire/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden frames: %v", err)
	}
	for _, file := range files {
		frame, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !shown[string(frame)] {
			t.Errorf("%s does not show %s as it is", protocolPage, file)
		}
		delete(shown, string(frame))
	}
	for example := range shown {
		t.Errorf("%s shows what is no golden frame: %s", protocolPage, example)
	}
}

func TestProtocolLimits(t *testing.T) {
	code := []int{
		chat.FrameBytes, chat.ContentBytes, chat.MediaURLBytes, chat.DeviceIDBytes, chat.EnvelopeIDRunes, chat.NameRunes,
		chat.ServerFrameBytes, chat.ConnectionsPerUser, chat.ConversationsPerUser, chat.MembersDefault,
		chat.OpensPerSecond, chat.SendsPerSecond, chat.UserSendsPerSecond, chat.MarksPerSecond, chat.UserMarksPerSecond,
		chat.ErrorsInARow,
	}
	rows := rowsOf(t, protocolPage, "The socket", 0)
	same(t, "limits", len(rows), len(code)+1) // The last is the decoder's own; package wire tests it.
	for i, limit := range code {
		value, _, _ := strings.Cut(rows[i][1], " ")
		same(t, rows[i][0], value, limit)
	}
	for i, burst := range []int{chat.OpenBurst, chat.SendBurst, chat.UserSendBurst, chat.MarkBurst, chat.UserMarkBurst} {
		row := rows[i+10]
		same(t, "burst of "+row[0], true, strings.Contains(row[1], ", "+strconv.Itoa(burst)+" at once"))
	}
}

func TestProtocolCodes(t *testing.T) {
	rows := rowsOf(t, protocolPage, "Errors", 0)
	for _, row := range rows {
		same(t, row[0], row[1], chat.Code(row[0]).Status())
	}
	constants(t, "Code", len(rows))
	temporary := rows[len(rows)-4:]
	for i, row := range rows {
		same(t, row[0]+" is temporary", i >= len(rows)-len(temporary), chat.Code(row[0]).Temporary())
	}
	for table := range 2 { // Our own, then those of RFC 6455.
		for _, row := range rowsOf(t, protocolPage, "Close codes", table) {
			same(t, "close code "+row[0], row[1], chat.CloseCode(number(t, row[0])).Reason())
		}
	}
}
