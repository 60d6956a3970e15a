package main

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// Devices are registered in PostgreSQL; while it is away, and without -postgres,
// those calls are unavailable and nothing else is.
func TestDevicesAreInPostgreSQL(t *testing.T) {
	brokers := startKafka(t)
	if err := run(t.Context(), []string{"migrate", "-kafka", brokers, "-partitions", "2", "-replication", "1"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	const body = `{"kind":"webhook","provider":"fcm","token":"x"}`
	for name, more := range map[string][]string{"without -postgres": nil, "while it is away": {"-postgres", "postgres://app@127.0.0.1:1/app"}} {
		p := startWorker(t, brokers, t.TempDir(), append([]string{"-archive", filepath.Join(t.TempDir(), "archive.db"), "-serve", "rest"}, more...)...)
		p.await(200, "ok")
		if status, text := p.call("PUT", "http://"+p.rest+"/api/v1/devices/phone/push", body); status != 503 || !strings.Contains(text, "unavailable") {
			t.Errorf("%s: got %d %s", name, status, text)
		}
		if status, text := p.call("GET", "http://"+p.rest+"/api/v1/conversations", ""); status != 200 {
			t.Errorf("%s: the conversations are %d %s", name, status, text)
		}
		p.end()
	}
}

func TestDevicesOverREST(t *testing.T) {
	tables, brokers := rosterSchema(t), startKafka(t)
	if err := run(t.Context(), []string{"migrate", "-kafka", brokers, "-partitions", "2", "-replication", "1", "-postgres", tables}, io.Discard); err != nil {
		t.Fatal(err)
	}
	p := startWorker(t, brokers, t.TempDir(), "-archive", filepath.Join(t.TempDir(), "archive.db"), "-serve", "rest",
		"-postgres", tables, "-push-public-key", "the key")
	p.await(200, "ok")
	devices := "http://" + p.rest + "/api/v1/devices"
	if status, text := p.call("PUT", devices+"/phone/push", `{"kind":"webhook","provider":"fcm","token":"x"}`); status != 204 {
		t.Fatalf("got %d %s", status, text)
	}
	if status, text := p.call("GET", devices, ""); status != 200 || !strings.Contains(text, `"device_id":"phone"`) || !strings.Contains(text, `"web_push_key":"the key"`) {
		t.Errorf("got %d %s", status, text)
	}
	p.end()
	if rows := ask(t, tables, "SELECT kind, address FROM push_devices"); len(rows) != 1 || rows[0] != "webhook x" {
		t.Errorf("the table has %q", rows)
	}
}
