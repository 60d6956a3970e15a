package main

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// peer is a server that can be measured. It listens on the address that is its last
// argument.
type peer struct {
	name    string
	tools   []string // that it is built with or runs on
	sources bool     // it needs those of uWebSockets
	build   func(ctx context.Context, c *config) error
	start   func(c *config) []string // command; none: bench starts it itself
	version func(ctx context.Context, c *config) string
	speak   []string // flags of bench for a server that has words of its own
}

// library is a server on a Go module.
func library(name, module string, speak ...string) peer {
	return peer{
		name: name, speak: speak,
		build: func(ctx context.Context, c *config) error {
			return command(ctx, filepath.Join(c.root, "bench", "peers"), "go", "build", "-o", c.building+"/", "./"+name)
		},
		start: func(c *config) []string { return []string{filepath.Join(c.building, name)} },
		version: func(_ context.Context, c *config) string {
			info, err := buildinfo.ReadFile(filepath.Join(c.building, name))
			if err != nil {
				return ""
			}
			for _, used := range info.Deps {
				if used.Path == module {
					return used.Version
				}
			}
			return ""
		},
	}
}

// peers are all that can be measured.
func peers() []peer {
	return []peer{
		{name: "session", build: copyGateway}, // The gateway as it is, with users and their tokens.
		{name: "gateway", start: func(c *config) []string {
			return []string{filepath.Join(c.building, "gateway"), "conformance", "-log-level", "error", "-listen"}
		}},
		{
			name: "uwebsockets", tools: []string{"cc", "c++"}, sources: true, build: buildUWebSockets, version: versionOfUWebSockets,
			start: func(c *config) []string { return []string{filepath.Join(c.building, "uwebsockets")} },
		},
		library("gws", "github.com/lxzan/gws"),
		library("gorilla", "github.com/gorilla/websocket"),
		// A number may not be 0, and 1 is the greeting's.
		library("centrifuge", "github.com/centrifugal/centrifuge",
			"-greeting", `{"id":1,"connect":{}}`, "-text", `{"id":2#,"rpc":{"data":{"text":"xxxxxxxxxxxxxxxxxxxx"}}}`),
		{
			name: "ws", tools: []string{"node", "npm"}, build: buildWS, version: versionOfWS,
			start: func(c *config) []string { return []string{"node", filepath.Join(c.building, "ws", "echo.mjs")} },
		},
	}
}

func find(name string) (peer, bool) {
	i := slices.IndexFunc(peers(), func(p peer) bool { return p.name == name })
	if i < 0 {
		return peer{}, false
	}
	return peers()[i], true
}

func allNames() (names []string) {
	for _, p := range peers() {
		names = append(names, p.name)
	}
	return names
}

// lacks is what the peer needs that is not here.
func (p peer) lacks() (all []string) {
	for _, tool := range p.tools {
		all = append(all, lack(tool, "the program "+tool)...)
	}
	if p.sources {
		if _, _, err := sourcesOfUWebSockets(); err != nil {
			all = append(all, err.Error())
		}
	}
	return all
}

// lack is what is missing if a program is.
func lack(program, what string) []string {
	if _, err := exec.LookPath(program); err != nil {
		return []string{what}
	}
	return nil
}

// sourcesOfUWebSockets are its folder and that of uSockets.
func sourcesOfUWebSockets() (web, sockets string, err error) {
	web, sockets = os.Getenv("UWEBSOCKETS"), os.Getenv("USOCKETS")
	if web == "" {
		return "", "", errors.New("its sources: UWEBSOCKETS=FOLDER, with those of uSockets in FOLDER/uSockets or USOCKETS")
	}
	if sockets == "" {
		sockets = filepath.Join(web, "uSockets")
	}
	for _, file := range []string{filepath.Join(web, "src", "App.h"), filepath.Join(sockets, "src", "libusockets.h")} {
		if _, err := os.Stat(file); err != nil {
			return "", "", fmt.Errorf("its sources, and here is no %s", file)
		}
	}
	return web, sockets, nil
}

// buildUWebSockets builds it as its own makefiles do: optimised at link time, without TLS.
func buildUWebSockets(ctx context.Context, c *config) error {
	web, sockets, err := sourcesOfUWebSockets()
	if err != nil {
		return err
	}
	objects := filepath.Join(c.building, "uwebsockets.o")
	if err := errors.Join(os.RemoveAll(objects), os.MkdirAll(objects, 0o755)); err != nil { //nolint:gosec // Others may look.
		return err
	}
	var units []string
	for _, pattern := range []string{"*.c", "eventing/*.c", "crypto/*.c"} {
		found, err := filepath.Glob(filepath.Join(sockets, "src", pattern))
		if err != nil {
			return err
		}
		units = append(units, found...)
	}
	flags := []string{"-O3", "-flto=auto", "-DLIBUS_NO_SSL", "-DUWS_NO_ZLIB", "-I", filepath.Join(web, "src"), "-I", filepath.Join(sockets, "src"), "-c"}
	if err := command(ctx, objects, "cc", slices.Concat([]string{"-std=c11"}, flags, units)...); err != nil {
		return err
	}
	echo := filepath.Join(c.root, "bench", "peers", "uwebsockets", "echo.cpp")
	if err := command(ctx, objects, "c++", slices.Concat([]string{"-std=c++20"}, flags, []string{echo})...); err != nil {
		return err
	}
	all, err := filepath.Glob(filepath.Join(objects, "*.o"))
	if err != nil {
		return err
	}
	return command(ctx, objects, "c++", slices.Concat([]string{"-O3", "-flto=auto", "-o", filepath.Join(c.building, "uwebsockets")}, all)...)
}

// copyGateway gives the session a file of its own: processes that run the same file
// share its memory, and while the one gets a page that the other has, both weigh less.
func copyGateway(_ context.Context, c *config) error {
	program, err := os.ReadFile(filepath.Join(c.building, "gateway"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.building, "session"), program, 0o755) //nolint:gosec // It is a program.
}

func versionOfUWebSockets(ctx context.Context, _ *config) string {
	repository := filepath.Join(os.Getenv("UWEBSOCKETS"), ".git")
	commit, err := exec.CommandContext(ctx, "git", "--git-dir", repository, "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "" // The sources need not be one.
	}
	return strings.TrimSpace(string(commit))
}

// buildWS installs it where it is built: npm writes beside package.json.
func buildWS(ctx context.Context, c *config) error {
	folder := filepath.Join(c.building, "ws")
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // Others may look.
		return err
	}
	for _, name := range []string{"package.json", "package-lock.json", "echo.mjs"} {
		text, err := os.ReadFile(filepath.Join(c.root, "bench", "peers", "ws", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			return err
		}
	}
	return command(ctx, folder, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
}

func versionOfWS(_ context.Context, c *config) string {
	var of struct{ Version string }
	text, err := os.ReadFile(filepath.Join(c.building, "ws", "node_modules", "ws", "package.json"))
	if err != nil || json.Unmarshal(text, &of) != nil {
		return ""
	}
	return of.Version
}

// command runs a program and says what it said if it fails.
func command(ctx context.Context, folder, program string, args ...string) error {
	run := exec.CommandContext(ctx, program, args...)
	run.Dir = folder
	if said, err := run.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", run, err, said)
	}
	return nil
}
