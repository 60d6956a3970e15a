package servers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

// gatewayVersion is that of versitygw, which speaks the protocol of S3 and keeps
// everything in a folder.
const gatewayVersion = "v1.8.0"

// gatewayPackage is built from source: it is in no distribution of Debian's.
const gatewayPackage = "github.com/versity/versitygw/cmd/versitygw@" + gatewayVersion

// S3User is who may do everything; the password is the same.
const S3User = "switchboard"

// gateway returns the program, built if it is not there: that takes two minutes, once.
func (c *cache) gateway(ctx context.Context) (string, error) {
	dir := filepath.Join(c.dir, "versitygw-"+gatewayVersion)
	program := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	c.log.Info("build", "server", "s3")
	// Not the flags of whoever tests: a race detector here would find nothing of ours.
	if err := run(ctx, "/", "env", "GOBIN="+dir, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "go", "install", gatewayPackage); err != nil {
		return "", fmt.Errorf("build versitygw: %w", err)
	}
	return program, nil
}

// s3 plans a server of S3 without TLS, which keeps attributes beside the files: not
// every file system has room for them.
func (p *planner) s3() ([]*node, string) {
	n := p.node("s3")
	addr := address("127.0.0.1", p.port())
	data, users, beside := n.path("data"), n.path("users"), n.path("attributes")
	n.configure = func() error {
		for _, dir := range []string{data, users, beside} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("configure: %w", err)
			}
		}
		return nil
	}
	n.command = []string{
		p.software.s3, "--access", S3User, "--secret", S3User, "--port", addr, "--region", "us-east-1",
		"--iam-dir", users, "--health", "/healthz", "--quiet", "posix", "--sidecar", beside, data,
	}
	n.ready = func(ctx context.Context, _ bool) error { return askS3(ctx, addr) }
	return []*node{n}, fmt.Sprintf("SWITCHBOARD_TEST_S3=http://%s:%s@%s", S3User, S3User, addr)
}

// askS3 asks whether it serves.
func askS3(ctx context.Context, addr string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
	if err != nil {
		return err
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask for its health: %w", err)
	}
	if err := answer.Body.Close(); err != nil {
		return fmt.Errorf("ask for its health: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("ask for its health: %s", strconv.Itoa(answer.StatusCode))
	}
	return nil
}
