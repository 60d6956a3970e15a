package switchboard_test

import (
	"flag"
	"fmt"
	"go/ast"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var update = flag.Bool("update", false, "write the table of tests in docs/protocol.md")

// contractRun is the package whose tests are the contract, one for each row.
const contractRun = "dev/contract"

// contractOfTheDocument is the one test there that is of no row: it has its cases from
// docs/openapi.yaml.
const contractOfTheDocument = "TestRequestsOfTheDocument"

// contractTables are the tables of docs/protocol.md that bind the server, by what
// the names of their tests begin with.
var contractTables = []struct {
	prefix, section string
	table           int
	cells           int // of a row that make the name
}{
	{"Limit", "The socket", 0, 1},
	{"Socket", "The socket", 1, 1},
	{"Refusal", "The socket", 2, 1},
	{"Frame", "Frames", 0, 1},
	{"Event", "Frames", 1, 1},
	{"Push", "Frames", 2, 1},
	{"Route", "REST", 0, 1},
	{"Pace", "REST", 1, 1},
	{"Error", "Errors", 0, 1},
	{"Close", "Close codes", 0, 2},
	{"Close", "Close codes", 1, 2},
	{"SmallPrint", "Small print", 0, 1},
}

// elsewhere are tests in other packages that prove a row: beside its own, or where
// it cannot be seen from outside. A line that names nothing fails.
const elsewhere = `
TestLimitConversationsOfOneUser              storage-worker/rest  TestTooManyConversations
TestLimitMarksOfOneUserToOneServer           gateway/session      TestEveryLimitTellsTheTruth
TestLimitNewConnectionsOfOneUserToOneServer  gateway/session      TestTooManyOpens
TestLimitSendsOfOneUserToOneServer           gateway/session      TestEveryLimitTellsTheTruth
TestRefusal429                               gateway/node         TestTooManyOpensIs429WithRetryAfter
TestRefusal503                               gateway/edge         TestOverMaxConnectionsIs503
TestRefusal503                               gateway/node         TestMaxConnectionsIs503WithRetryAfter
TestRefusal503                               gateway/node         TestRedisThatDoesNotAnswerIs503WithRetryAfter
TestRefusal503                               gateway/node         TestKafkaThatTakesNothingIs503WithRetryAfter
TestRefusal503                               gateway/session      TestOverload
TestPushBehind                               dev/single           TestBehindAfterRedisForgot
TestPushBehind                               dev/single           TestBehindAfterTheLeaseWasLost
TestPushBehind                               dev/single           TestBehindAfterTheDeliveryTopicWasCut
TestPushBehind                               dev/single           TestBehindOnRecheck
TestPushBehind                               dev/single           TestBehindAfterASlowReader
TestPushBehind                               dev/system           TestBehindOnRealServers
TestPushConversationUpdatedWithChangeHead    dev/single           TestConversationThatCrossesAHundredMembersBothWays
TestPushConversationUpdatedWithChangeHead    router/fanout        TestHeadComesAtOnceThenOnceASecond
TestPushReconnect                            dev/single           TestDrainLosesNothing
TestRoutePostMedia                           storage-worker/rest  TestADirectUploadIsReadAndSentWhenItIsComplete
TestRoutePostMedia                           storage-worker/media/s3  TestAnInletTakesOneObjectOfOneSize
TestRoutePostMedia                           dev/system           TestDirectUploadsOnRealServers
TestRoutePostMediaIDComplete                 storage-worker/rest  TestADirectUploadIsReadAndSentWhenItIsComplete
TestRoutePostMediaIDComplete                 storage-worker/media/s3  TestWhoKeepsTheURLCannotChangeWhatWasCompleted
TestRoutePostMediaIDComplete                 dev/system           TestDirectUploadsOnRealServers
TestRouteGetMediaID                          dev/system           TestDirectUploadsOnRealServers
TestPaceReads                                storage-worker/rest  TestTheNextCallIsLetInAfterTheTimeThatWasTold
TestErrorInternal                            storage-worker/rest  TestAStoreThatFails
TestErrorTimeout                             storage-worker/rest  TestACallWithoutAnAnswerIsUnknown
TestErrorTooManyConversations                storage-worker/rest  TestTooManyConversations
TestErrorUnavailable                         storage-worker/rest  TestCommandsNeedARunningServer
TestClose4000ServerError                     gateway/session      TestYoungerBootTakesTheSlot
TestClose4001Draining                        gateway/session      TestDrain
TestClose4001Draining                        dev/system           TestDrainOnRealServers
TestClose4003SlowConsumer                    gateway/session      TestReaderThatDoesNotDrainIsClosed
TestClose4003SlowConsumer                    dev/single           TestReaderThatIsClosedConnectsAgainAndIsComplete
TestClose4003SlowConsumer                    dev/system           TestReadersThatDoNotReadHoldUpNobody
TestSmallPrintBefore                         storage-worker/rest  TestGoingBackBySecondsLosesAndDoublesNothing
TestSmallPrintBefore                         storage-worker/rest  TestASecondOfManyEvents
TestSmallPrintLeftConversations              storage-worker/rest  TestTheLastEventsOfALongAbsence
TestSmallPrintStrangers                      dev/single           TestOutsidersHaveNoAnswerFromAnyRoute
TestSmallPrintStrangers                      dev/single           TestOutsidersHaveNoEffectByAnyEvent
TestGuarantee1Order                          dev/system           TestCrowdOnAKilledSystem
TestGuarantee1Order                          dev/system           TestClusterKeepsWhatItPromises
TestGuarantee2TheGapRule                     client               TestGapIsHeldUntilItFills
TestGuarantee2TheGapRule                     client               TestGapThatStaysIsPulled
TestGuarantee3MessageSent                    storage-worker/fold  TestModel
TestGuarantee3MessageSent                    dev/system           TestKilledSystemLosesAndRepeatsNothing
TestGuarantee3MessageSent                    dev/system           TestHandOverOnRealServers
TestGuarantee4Sending                        dev/system           TestKilledSystemLosesAndRepeatsNothing
TestGuarantee4Sending                        dev/system           TestClusterKeepsWhatItPromises
TestGuarantee5Resuming                       dev/system           TestCrowdOnAKilledSystem
TestGuarantee5Resuming                       dev/system           TestClusterKeepsWhatItPromises
TestGuarantee6Marks                          dev/system           TestMarksOnAKilledSystem
TestGuarantee6Marks                          dev/system           TestCrowdAndMarksOnAKilledCluster
TestGuarantee7Devices                        gateway/session      TestTwoNewcomersAtOnceDoNotCloseEachOther
TestGuarantee7Devices                        gateway/session      TestTwoNewcomersOfOneDeviceOnTwoGateways
TestGuarantee7Devices                        gateway/session      TestAWordThatIsLostIsSaidAgain
TestGuarantee7Devices                        gateway/node         TestADeviceThatConnectsElsewhereClosesTheOldSocket
TestGuarantee7Devices                        dev/system           TestDevicesOverTwoGateways
TestGuarantee8SlowReaders                    gateway/session      TestReaderThatDoesNotDrainIsClosed
TestGuarantee8SlowReaders                    dev/single           TestBehindAfterASlowReader
TestGuarantee8SlowReaders                    dev/system           TestReadersThatDoNotReadHoldUpNobody
TestGuarantee9Membership                     dev/system           TestLargeConversationOnAKilledSystem
TestGuarantee9Membership                     storage-worker/rest  TestARemovalIsInForceWhenItIsAnswered
TestGuarantee9Membership                     dev/single           TestMembershipIsInForceWhenItIsAnswered
TestGuarantee9Membership                     dev/single           TestOutsidersAreToldNothingByListsAndSync
TestGuarantee11ComingAndGoing                router/signals       TestWhoIsBackWithinTheGraceWasNeverGone
TestGuarantee11ComingAndGoing                dev/single           TestOfADeadGatewayThoseAreAnnouncedWhoDoNotComeBack
TestGuarantee11ComingAndGoing                dev/system           TestGatewayWithFiveThousandRestarts
TestGuarantee12Speed                         gateway/session      TestSweepFindsWhatTheDirectoryForgot
TestGuarantee12Speed                         dev/single           TestBehindAfterRedisForgot
`

// duty is a row of the page, or a numbered promise, and what proves it.
type duty struct {
	where, what string // section and row
	test        string // the name that its test in contractRun must have
	toCome      bool   // reserved: nothing does it yet
}

// duties reads the page.
func duties(t *testing.T) (all []duty) {
	t.Helper()
	for _, table := range contractTables {
		for _, row := range rowsOf(t, protocolPage, table.section, table.table) {
			what := strings.Join(row[:table.cells], " ")
			all = append(all, duty{
				where: table.section, what: what, test: "Test" + table.prefix + testName(what),
				toCome: strings.HasPrefix(row[len(row)-1], "to come") || strings.HasPrefix(row[len(row)-1], "reserved"),
			})
		}
	}
	page, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	promises := regexp.MustCompile(`(?m)^\*\*(\d+)\. (.+?)\.?\*\*`).FindAllStringSubmatch(string(page), -1)
	for i, found := range promises {
		same(t, "number of "+found[2], found[1], i+1)
		what := found[1] + ". " + strings.ReplaceAll(found[2], "`", "")
		all = append(all, duty{where: "What you can rely on", what: what, test: "TestGuarantee" + testName(what)})
	}
	if len(promises) < 9 {
		t.Errorf("%s numbers %d promises, want nine at least", protocolPage, len(promises))
	}
	return all
}

// testName is a row's first cell as part of a name: up to the first comma, without
// the version of the interface and what is asked for, each word with a capital.
func testName(row string) string {
	row, _, _ = strings.Cut(row, ",")
	row, _, _ = strings.Cut(row, "?")
	row = strings.ReplaceAll(row, "/api/v1/", "")
	var name strings.Builder
	for word := range strings.FieldsFuncSeq(row, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		switch strings.ToLower(word) {
		case "id", "url", "utf8":
			name.WriteString(strings.ToUpper(word))
		case "ids":
			name.WriteString("IDs")
		case "get", "post", "put", "patch", "delete":
			word = strings.ToLower(word)
			fallthrough
		default:
			name.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return name.String()
}

// proof is a test, by its package and name.
type proof struct{ dir, name string }

// proofs returns the file of each test of the repository.
func proofs(t *testing.T) map[proof]string {
	t.Helper()
	all := make(map[proof]string)
	for _, s := range sources(t, os.DirFS(".")) {
		if !s.test {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
				all[proof{s.dir, f.Name.Name}] = s.path
			}
		}
	}
	return all
}

// elsewhereOf reads the list above, by the test whose row a line is for.
func elsewhereOf(t *testing.T) map[string][]proof {
	t.Helper()
	others := make(map[string][]proof)
	for line := range strings.Lines(elsewhere) {
		switch fields := strings.Fields(line); len(fields) {
		case 0:
		case 3:
			others[fields[0]] = append(others[fields[0]], proof{fields[1], fields[2]})
		default:
			t.Errorf("the line %q has not three words", line)
		}
	}
	return others
}

// Each row of docs/protocol.md and each promise has a test, the page names it, and
// no test of the contract is for nothing.
func TestContract(t *testing.T) {
	tests, others := proofs(t), elsewhereOf(t)
	wanted := make(map[string]bool)
	var table strings.Builder
	table.WriteString("| section | row | tests |\n|---|---|---|\n")
	for _, d := range duties(t) {
		if wanted[d.test] {
			t.Errorf("%s: %q is the second row of its name", d.where, d.what)
		}
		wanted[d.test] = true
		var links []string
		for _, p := range append([]proof{{contractRun, d.test}}, others[d.test]...) {
			if file, ok := tests[p]; ok {
				links = append(links, fmt.Sprintf("[%s](../%s)", p.name, file))
			} else if p.dir != contractRun {
				t.Errorf("%s is proven by %s %s, which is not there", d.test, p.dir, p.name)
			}
		}
		proven := strings.Join(links, ", ")
		switch {
		case proven == "" && d.toCome:
			proven = "to come"
		case proven == "":
			t.Errorf("%s: %q has no test: write %s in %s, or name another", d.where, d.what, d.test, contractRun)
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", d.where, d.what, proven)
	}
	for p, file := range tests {
		if p.dir == contractRun && !wanted[p.name] && p.name != contractOfTheDocument {
			t.Errorf("%s: %s is of no row", file, p.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(others)) {
		if !wanted[name] {
			t.Errorf("%s is proven elsewhere, and of no row", name)
		}
	}
	if !t.Failed() {
		sameTable(t, table.String())
	}
}

// sameTable compares the table of the page with the one that was made, or writes it
// there.
func sameTable(t *testing.T, table string) {
	t.Helper()
	text, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- table of tests -->\n", "<!-- end -->\n"
	before, rest, found := strings.Cut(string(text), begin)
	old, after, closed := strings.Cut(rest, end)
	switch {
	case !found || !closed:
		t.Fatalf("%s has no place for the table, between %q and %q", path.Base(protocolPage), begin, end)
	case old == table:
	case *update:
		if err := os.WriteFile(protocolPage, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s does not name the tests as they are: go test -run TestContract -update .", protocolPage)
	}
}

func TestTestNames(t *testing.T) {
	for row, want := range map[string]string{
		"send_message":                               "SendMessage",
		"conversation_updated with change: head":     "ConversationUpdatedWithChangeHead",
		"GET /api/v1/conversations?cursor&limit":     "GetConversations",
		"PUT …/{id}/members/{user_id}":               "PutIDMembersUserID",
		"POST /api/v1/media/upload, GET /api/v1/x":   "PostMediaUpload",
		"sends of one connection, refresh_token too": "SendsOfOneConnection",
		"4504 session_replaced":                      "4504SessionReplaced",
		"2. The gap rule":                            "2TheGapRule",
		"id of a frame":                              "IDOfAFrame",
	} {
		same(t, row, want, testName(row))
	}
}
