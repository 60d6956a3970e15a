package memory_test

import (
	"testing"

	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/archivetest"
	"switchboard/storage-worker/archive/memory"
)

func TestStore(t *testing.T) {
	archivetest.Run(t, func(*testing.T) archive.Store { return memory.New() })
}
