package change

import (
	"fmt"
	"os"
	"path/filepath"

	"switchboard/tuning/host"
)

// Config is where changes are made.
type Config struct {
	Root  string // of a captured tree; empty: this host
	File  string // of sysctl.d, absolute from the root; see File
	State string // folder of the record, likewise
	// Namespaced says that the settings are of this network namespace and of
	// nothing else; the record is then good in this namespace only.
	Namespaced bool
}

// State is where the record goes by default.
const State = "/var/lib/switchboard-tuning"

// Changer changes one host. It is for one goroutine.
type Changer struct {
	Config
	// What a test may break.
	set func(key, value string) error
	put func(name string, text *string) error
}

// New returns a Changer.
func New(cfg Config) *Changer {
	c := &Changer{Config: cfg, put: put}
	c.set = c.write
	return c
}

func (c *Changer) file() string             { return c.at(c.File) }
func (c *Changer) record() string           { return c.at(c.State, "record.json") }
func (c *Changer) sysctl(key string) string { return c.at(host.SysctlFile(key)) }

// at returns where a file of the host is here.
func (c *Changer) at(parts ...string) string {
	root := c.Root
	if root == "" {
		root = "/"
	}
	return filepath.Join(root, filepath.Join(parts...))
}

// Ours returns the settings that an earlier Apply changed, or that the file of
// sysctl.d holds, whoever wrote it: another Apply must not lose them.
func (c *Changer) Ours() (map[string]bool, error) {
	ours := make(map[string]bool)
	r, err := readRecord(c.record())
	if err != nil {
		return nil, err
	}
	if r != nil {
		for _, v := range r.Values {
			ours[v.Key] = true
		}
	}
	text, err := get(c.file())
	if err != nil {
		return nil, fmt.Errorf("read the settings at boot: %w", err)
	}
	if text != nil {
		for _, key := range host.Keys(*text) {
			ours[key] = true
		}
	}
	return ours, nil
}

// current returns a setting in the form of host.Normal.
func (c *Changer) current(key string) (string, error) {
	text, err := os.ReadFile(c.sysctl(key))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	return host.Normal(key, string(text)), nil
}

// write sets a setting; a file that the kernel does not have is not made.
func (c *Changer) write(key, value string) error {
	f, err := os.OpenFile(c.sysctl(key), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	_, err = f.WriteString(value + "\n")
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("set %s to %q: %w", key, value, err)
	}
	return nil
}

// ensure sets a setting unless it is so already, and sees whether the kernel took
// it.
func (c *Changer) ensure(key, value string) error {
	is, err := c.current(key)
	if err != nil || is == value {
		return err
	}
	if err := c.set(key, value); err != nil {
		return err
	}
	if is, err = c.current(key); err != nil {
		return err
	}
	if is != value {
		return fmt.Errorf("set %s to %q: the kernel made it %q", key, value, is)
	}
	return nil
}

// namespace returns the name of this network namespace.
func (c *Changer) namespace() (string, error) {
	if !c.Namespaced || c.Root != "" {
		return "", nil
	}
	return os.Readlink("/proc/self/ns/net")
}
