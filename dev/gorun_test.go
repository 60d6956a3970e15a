package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// follower is set in a second process of this test, which follows its parent.
const follower = "SWITCHBOARD_TEST_FOLLOWER"

func TestEndOfGoRunIsOurs(t *testing.T) {
	if os.Getenv(follower) != "" {
		ctx, cancel := followGoRun(context.Background())
		defer cancel()
		fmt.Fprintln(os.Stdout, "following")
		select {
		case <-ctx.Done():
			fmt.Fprintln(os.Stdout, "followed")
		case <-time.After(time.Minute):
			fmt.Fprintln(os.Stdout, "left behind")
		}
		return
	}
	// A shell by the name of the go tool.
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(t.TempDir(), "go")
	if err := os.WriteFile(tool, shell, 0o755); err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(tool, "-c", os.Args[0]+" -test.run=^TestEndOfGoRunIsOurs$; exit")
	parent.Env = append(os.Environ(), follower+"=1")
	out, in, err := os.Pipe() // which outlives the parent
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	parent.Stdout = in
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "following\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	rest, err := io.ReadAll(lines)
	if err != nil || !strings.HasPrefix(string(rest), "followed\n") {
		t.Errorf("after the end of its parent the child says %q, %v", rest, err)
	}
}
