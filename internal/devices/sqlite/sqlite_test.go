package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"switchboard/internal/devices"
	"switchboard/internal/devices/devicestest"
	"switchboard/internal/devices/sqlite"
)

func TestStore(t *testing.T) {
	devicestest.Run(t, func(t *testing.T) devices.Store {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "devices.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		s, err := sqlite.New(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
