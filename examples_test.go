package switchboard_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const pythonExample = "docs/examples/python/hello.py"

// What the README shows is what was tested.
func TestReadmeShowsTheExample(t *testing.T) {
	example, err := os.ReadFile(pythonExample)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, append([]byte("```python\n"), example...)) {
		t.Errorf("README.md does not show %s as it is", pythonExample)
	}
}

func TestPythonExample(t *testing.T) {
	python := pythonWithWebsockets(t)
	rest := startDev(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 { // the second time, the conversation is there already
		out, err := exec.CommandContext(ctx, python, pythonExample, rest).CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "\nsent, received and in history: hello\n") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// pythonWithWebsockets returns an interpreter that has the library. Where one is
// named in the environment it must; elsewhere the test is skipped.
func pythonWithWebsockets(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the whole system")
	}
	python, demanded := os.LookupEnv("SWITCHBOARD_TEST_PYTHON")
	if !demanded {
		python = "python3"
	}
	if out, err := exec.Command(python, "-c", "import websockets").CombinedOutput(); err != nil {
		if demanded {
			t.Fatalf("%s: %v\n%s", python, err, out)
		}
		t.Skip("needs python3 with websockets; SWITCHBOARD_TEST_PYTHON names another interpreter")
	}
	return python
}

// startDev runs the one-command system until the test ends and returns the
// address of its HTTP interface.
func startDev(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "dev")
	if out, err := exec.Command("go", "build", "-o", binary, "./dev").CombinedOutput(); err != nil {
		t.Fatalf("build dev: %v\n%s", err, out)
	}
	const anywhere = "127.0.0.1:0"
	cmd := exec.Command(binary, "-listen", anywhere, "-gateway-listen", anywhere, "-ops-listen", anywhere, "-data", filepath.Join(dir, "data"))
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Errorf("stop dev: %v", err)
		}
		for range lines { // until the process has closed it
			continue
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("dev ended with %v\n%s", err, log.Bytes())
		}
	})
	return awaitReady(t, lines)
}

// awaitReady reads until the line that says so, and returns the URL of REST,
// which is said before.
func awaitReady(t *testing.T, lines <-chan string) (rest string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatal("dev ended before it was ready")
			}
			if url, ok := strings.CutPrefix(line, "REST"); ok {
				rest = strings.TrimSpace(url)
			}
			if line == "ready" {
				return rest
			}
		case <-late:
			t.Fatal("dev was not ready after 30 seconds")
		}
	}
}
