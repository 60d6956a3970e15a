package daemon

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// envPrefix begins the name of every environment variable that is a flag.
const envPrefix = "SWITCHBOARD_"

// Flags are the flags of one program. Each -some-name can also be given as
// SWITCHBOARD_SOME_NAME in the environment; the command line wins. Secrets are
// never flags, only the names of files that hold them.
type Flags struct {
	*flag.FlagSet

	program string
	manual  string
	lookup  func(name string) (string, bool) // os.LookupEnv, but in tests

	level   slog.Level
	format  logFormat
	version bool
}

// NewFlags returns the flags that every program has: -log-level, -log-format,
// -version, -help. manual is the text that -help prints above the list of flags:
// what the program does, what it needs, how it ends.
func NewFlags(program, manual string) *Flags {
	f := &Flags{
		FlagSet: flag.NewFlagSet(program, flag.ContinueOnError),
		program: program,
		manual:  manual,
		lookup:  os.LookupEnv,
		format:  "text",
	}
	f.SetOutput(io.Discard) // Main reports, once
	f.Usage = func() {}
	f.TextVar(&f.level, "log-level", slog.LevelInfo, "log what is at least this `LEVEL`: debug, info, warn or error")
	f.Var(&f.format, "log-format", "`FORMAT` of log lines: text or json")
	f.BoolVar(&f.version, "version", false, "print version, commit and Go version, and exit")
	return f
}

// Parse reads the environment, then args, which hold flags only. What it
// returns is for the caller to return: a usage error, or the manual or the
// version, which Main prints.
func (f *Flags) Parse(args []string) error {
	if err := f.parseEnvironment(); err != nil {
		return err
	}
	err := f.FlagSet.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return &answer{text: f.help()}
	case err != nil:
		return Usagef("%v; see -help", err)
	case f.version:
		return &answer{text: f.program + " " + readBuild().String() + "\n"}
	case f.NArg() > 0:
		return Usagef("unexpected argument %q; see -help", f.Arg(0))
	}
	return nil
}

// parseEnvironment sets the flags that the environment names. An empty variable
// counts as absent: unit files and shells make those by accident.
func (f *Flags) parseEnvironment() error {
	var failed error
	f.VisitAll(func(one *flag.Flag) {
		name := environmentName(one.Name)
		value, ok := f.lookup(name)
		if !ok || value == "" || one.Name == "version" || failed != nil {
			return
		}
		if err := f.Set(one.Name, value); err != nil {
			failed = Usagef("invalid value %q for %s: %v; see -help", value, name, err)
		}
	})
	return failed
}

func environmentName(flagName string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// help returns the manual.
func (f *Flags) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nFlags, each also read from the environment:\n", strings.TrimSpace(f.manual))
	f.VisitAll(func(one *flag.Flag) {
		argument, usage := flag.UnquoteUsage(one)
		fmt.Fprintf(&b, "\n  -%s", one.Name)
		if argument != "" {
			fmt.Fprintf(&b, " %s", argument)
		}
		if one.DefValue != "" && one.DefValue != "false" {
			fmt.Fprintf(&b, "  (default %s)", one.DefValue)
		}
		if one.Name != "version" {
			fmt.Fprintf(&b, "  [%s]", environmentName(one.Name))
		}
		fmt.Fprintf(&b, "\n        %s\n", strings.ReplaceAll(usage, "\n", "\n        "))
	})
	return b.String()
}

// List adds a flag whose value is a comma-separated list; blanks around items
// and empty items do not count.
func (f *Flags) List(name, manual string) *[]string {
	l := new(list)
	f.Var(l, name, manual)
	return (*[]string)(l)
}

type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

// Set replaces the list, so that the command line overrides the environment.
func (l *list) Set(value string) error {
	*l = nil
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			*l = append(*l, item)
		}
	}
	return nil
}

type logFormat string

func (l *logFormat) String() string { return string(*l) }

func (l *logFormat) Set(value string) error {
	if value != "text" && value != "json" {
		return errors.New("want text or json")
	}
	*l = logFormat(value)
	return nil
}

// Logger returns the program's logger, writing to w as the flags say. Call it
// after Parse.
func (f *Flags) Logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: f.level}
	if f.format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)).With("program", f.program)
	}
	return slog.New(slog.NewTextHandler(w, options)).With("program", f.program)
}

// build says where this binary comes from.
type build struct {
	version  string
	commit   string
	modified bool
}

// readBuild asks the binary itself; nothing has to be passed at link time.
func readBuild() build {
	b := build{version: "(unknown)", commit: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.commit = s.Value
		case "vcs.modified":
			b.modified = s.Value == "true"
		}
	}
	return b
}

func (b build) String() string {
	modified := ""
	if b.modified {
		modified = " (modified)"
	}
	return fmt.Sprintf("%s commit %s%s %s %s/%s", b.version, b.commit, modified, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
