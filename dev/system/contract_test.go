package system

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// What docs/protocol.md says holds on real servers as it does in one process; what
// needs settings of its own is skipped.
func TestContractOnRealServers(t *testing.T) {
	c := commonCluster(t)
	walk := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout=15m", "switchboard/dev/contract",
		"-args", "-site", filepath.Join(c.data, "run", "addresses.json"))
	if said, err := walk.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
