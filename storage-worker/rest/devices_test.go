package rest

import (
	"database/sql"
	"errors"
	"net/http"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver

	"switchboard/internal/chat"
	"switchboard/internal/devices/sqlite"
	"switchboard/internal/wire"
)

const devicesPath = "/api/v1/devices"

// registered gives the rig tables of devices; closing them is a failure of the store.
func registered(t *testing.T, r *rig) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "devices.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // it may be closed already
	store, err := sqlite.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	r.Devices, r.PushKey = store, "a key"
	return db
}

func TestDevicesAreWhatWasRegistered(t *testing.T) {
	r := newRig(t)
	registered(t, r)
	r.do(alice, http.StatusNoContent, nil, "PUT", devicesPath+"/phone/push", `{"kind":"webhook","provider":"fcm","token":"secret","endpoint":"ignored"}`)
	r.do(alice, http.StatusNoContent, nil, "PUT", devicesPath+"/phone/push", `{"kind":"webhook","provider":"apns","token":"secret","mute":{"all":true}}`)
	var got wire.DeviceList
	r.do(alice, http.StatusOK, &got, "GET", devicesPath, "")
	if len(got.Devices) != 1 || got.Devices[0].Provider != "apns" || !got.Devices[0].Mute.All || got.WebPushKey != "a key" {
		t.Errorf("got %+v", got)
	}
	r.do(bob, http.StatusOK, &got, "GET", devicesPath, "")
	if len(got.Devices) != 0 {
		t.Errorf("bob has %+v", got.Devices)
	}
	r.refused(bob, chat.NotFound, "DELETE", devicesPath+"/phone/push", "")
	r.do(alice, http.StatusNoContent, nil, "DELETE", devicesPath+"/phone/push", "")
	for _, body := range []string{"", "[]", `{}`, `{"kind":"webhook"}`, `{"kind":"web_push","token":"x","provider":"y"}`, `{"kind":"webhook","provider":"fcm","token":"a\u0000b"}`} {
		r.refused(alice, chat.BadRequest, "PUT", devicesPath+"/phone/push", body)
	}
}

// Tables that are not there, or are away, are no failure of this server.
func TestDevicesNeedTheirTables(t *testing.T) {
	r := newRig(t)
	calls := [][2]string{{"GET", ""}, {"PUT", `{"kind":"webhook","provider":"fcm","token":"x"}`}, {"DELETE", ""}}
	path := map[string]string{"GET": devicesPath, "PUT": devicesPath + "/d/push", "DELETE": devicesPath + "/d/push"}
	for _, call := range calls {
		r.refused(alice, chat.Unavailable, call[0], path[call[0]], call[1])
	}
	if err := errors.Join(registered(t, r).Close()); err != nil {
		t.Fatal(err)
	}
	for _, call := range calls {
		r.refused(alice, chat.Unavailable, call[0], path[call[0]], call[1])
	}
}
