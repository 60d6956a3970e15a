package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// opensearchValues is what its files leave open.
type opensearchValues struct {
	Port, TransportPort int
	Data, Logs          string
	Version             string
}

// opensearch plans one node. There is no distribution of it that Maven has, so the
// folder that it expects is put together from jars: a home with one module, which
// brings HTTP.
func (p *planner) opensearch() ([]*node, string) {
	n := p.node("opensearch")
	values := opensearchValues{
		Port: p.port(), TransportPort: p.port(), Data: n.path("data"), Logs: n.path("logs"), Version: opensearchVersion,
	}
	addr := address("127.0.0.1", values.Port)
	module := filepath.Join("modules", "transport-netty4")
	n.configure = func() error {
		for _, dir := range []string{module, "plugins", "config", "data", "logs"} {
			if err := os.MkdirAll(n.path(dir), 0o755); err != nil {
				return fmt.Errorf("configure: %w", err)
			}
		}
		return errors.Join(
			copyMissing(p.software.opensearchHTTP, p.software.opensearch, n.path(module)),
			n.write(filepath.Join("config", "opensearch.yml"), "opensearch.yml", values),
			n.write(filepath.Join("config", "log4j2.properties"), "log4j2.properties", nil),
			n.write(filepath.Join(module, "plugin-descriptor.properties"), "plugin-descriptor.properties", values),
			n.write(filepath.Join(module, "plugin-security.policy"), "plugin-security.policy", nil))
	}
	n.command = asUser(p.cfg.Mortal, append(p.java(n, []string{"-Xms128m", "-Xmx256m"}, []string{"-Xms1g", "-Xmx1g"}),
		"-Djava.security.manager=allow", "-Dlog4j2.disable.jmx=true",
		"-Dopensearch.path.home="+n.dir, "-Dopensearch.path.conf="+n.path("config"),
		"-Dopensearch.distribution.type=tar", "-Dopensearch.bundled_jdk=false",
		"-cp", filepath.Join(p.software.opensearch, "*"), "org.opensearch.bootstrap.OpenSearch")...)
	n.ready = func(ctx context.Context, _ bool) error { return askOpenSearch(ctx, addr) }
	return []*node{n}, "SWITCHBOARD_TEST_OPENSEARCH=" + addr
}

// copyMissing copies the files of a folder that are not in another one, where the
// server would take them for two versions of one thing.
func copyMissing(from, unless, to string) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(unless, f.Name())); err == nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err == nil {
			err = write(filepath.Join(to, f.Name()), text)
		}
		if err != nil {
			return fmt.Errorf("configure: %w", err)
		}
	}
	return nil
}

// askOpenSearch asks whether its indices can be used.
func askOpenSearch(ctx context.Context, addr string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/_cluster/health?wait_for_status=yellow&timeout=1s", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask for its health: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answers %s %.200s", response.Status, text)
	}
	if err != nil {
		return fmt.Errorf("ask for its health: %w", err)
	}
	return nil
}
