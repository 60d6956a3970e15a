package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// module is whose programs are built.
const module = "switchboard"

// checkout returns the root of the checkout that the working directory is in.
func checkout(ctx context.Context) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", errors.New("the programs cannot be built: no go tool on the PATH; install Go 1.26 or newer")
	}
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("look for the checkout: go env: %w", err)
	}
	file := strings.TrimSpace(string(out))
	var text []byte
	if file != "" && file != os.DevNull {
		if text, err = os.ReadFile(file); err != nil {
			return "", fmt.Errorf("look for the checkout: %w", err)
		}
	}
	if first, _, _ := strings.Cut(string(text), "\n"); strings.TrimSpace(first) != "module "+module {
		return "", errors.New("the programs cannot be built: their sources are not here; start the cluster inside a checkout of " + module)
	}
	return filepath.Dir(file), nil
}

// build makes the programs, with whatever GOFLAGS says.
func build(ctx context.Context, root, bin string, log *slog.Logger) error {
	begun := time.Now()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin+string(filepath.Separator), "./gateway", "./router", "./storage-worker")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("build the programs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	log.Info("the programs are built", "took", time.Since(begun).Round(time.Millisecond))
	return nil
}
