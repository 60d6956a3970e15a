// Tuning looks at a host that shall hold very many connections: what is set
// wrongly and why, how many it can hold and what binds first; and it sets what
// can be set, and takes it back.
//
//	host ──▶ host.Tree ──▶ advice ──▶ report   check
//	                   ├─▶ limits ──▶ report   capacity
//	                   └─▶ advice ──▶ change   plan, apply, revert
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"switchboard/internal/daemon"
	"switchboard/tuning/advice"
	"switchboard/tuning/change"
	"switchboard/tuning/host"
	"switchboard/tuning/limits"
	"switchboard/tuning/load"
	"switchboard/tuning/report"
)

const manual = `tuning looks at a host that shall hold very many connections.

  tuning check [flags]      what is set wrongly, why, and how to set it
  tuning capacity [flags]   how many connections each limit allows, and which binds first
  tuning plan [flags]       print settings, drop-in and commands; change nothing
  tuning apply [flags]      set what sysctl can set, now and at each boot
  tuning revert [flags]     take back what apply did, and nothing else
  tuning capture DIR        copy the files that check reads, for -root elsewhere
  tuning folklore           advice that is handed on and does harm, or nothing

Each command prints its own manual with -help. What should be follows from -connections
and the host's memory; nothing that is higher than needed is lowered.`

func main() { os.Exit(daemon.Main(run)) }

func run(_ context.Context, args []string, stdout io.Writer) error {
	commands := map[string]func(args []string, stdout io.Writer) error{
		"check": runCheck, "capacity": runCapacity, "plan": runPlan, "apply": runApply, "revert": runRevert,
		"capture": runCapture, "folklore": runFolklore,
	}
	if len(args) > 0 {
		if command, ok := commands[args[0]]; ok {
			return command(args[1:], stdout)
		}
	}
	flags := daemon.NewFlags("tuning", manual)
	if err := flags.Parse(args); err != nil {
		if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			return daemon.Usagef("no command %q; see -help", args[0])
		}
		return err
	}
	return daemon.Usagef("which command? see -help")
}

const checkManual = `tuning check compares a host with what the connections take.

Exit status, as monitoring wants it: 0 all is well, 1 warnings, 2 something is critical,
3 nothing is wrong but something could not be seen. A wrong flag is 2, as in every program.`

func runCheck(args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("tuning check", checkManual)
	asked := askHost(flags)
	format := flags.String("format", "text", "`FORMAT`: "+strings.Join(report.Formats, ", "))
	verbose := flags.Bool("verbose", false, "in text, give reasons and sources for what is well, too")
	if err := parse(flags, args, asked); err != nil {
		return err
	}
	if !slices.Contains(report.Formats, *format) {
		return daemon.Usagef("-format %s: want one of %s", *format, strings.Join(report.Formats, ", "))
	}
	tree, err := host.Open(asked.root)
	if err != nil {
		fmt.Fprintf(stdout, "TUNING UNKNOWN - %v\n", err)
		return daemon.Status(report.ExitStatus(advice.Unknown))
	}
	items := advice.Check(tree, asked.wish)
	if err := report.Write(stdout, *format, report.Found{Wish: asked.wish, Items: items}, *verbose); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return daemon.Status(report.ExitStatus(advice.Worst(items)))
}

const capacityManual = `tuning capacity reckons how many connections each limit of a host allows, and says
which one binds first. What a connection costs has been measured (docs/capacity.md);
what is reckoned for bench and balancers is said there.`

func runCapacity(args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("tuning capacity", capacityManual)
	asked := askHost(flags)
	format := flags.String("format", "text", "`FORMAT`: text or json")
	if err := parse(flags, args, asked); err != nil {
		return err
	}
	if *format != "text" && *format != "json" {
		return daemon.Usagef("-format %s: want text or json", *format)
	}
	tree, err := host.Open(asked.root)
	if err != nil {
		return err
	}
	return report.Capacity(stdout, *format, asked.wish, limits.Of(tree, asked.wish))
}

const captureManual = `tuning capture DIR copies the files that check and capacity read, and no others, into
a new folder. What they say of that folder with -root is what they would say here. It
has settings and counters, files of sysctl.d and limits.d, and the gateways' unit with its drop-ins.`

func runCapture(args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("tuning capture", captureManual)
	root := flags.String("root", "", "`DIR` of a tree that was captured before; empty: this host")
	dir := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		dir, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if dir == "" {
		return daemon.Usagef("capture: which folder? It comes first: tuning capture DIR")
	}
	tree, err := host.Open(*root)
	if err != nil {
		return err
	}
	for _, role := range load.Roles {
		wish := load.Default // Large enough that everything is looked at.
		wish.Role = role
		advice.Check(tree, wish)
		limits.Of(tree, wish)
	}
	files, err := tree.Capture(dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %s\n", dir, limits.Count(files, "file"))
	return err
}

func runFolklore(args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("tuning folklore", "tuning folklore lists advice that is handed on and does harm, or nothing. check finds\nit in the files of sysctl.d, and in limits.conf.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return report.Folklore(stdout, advice.Folklore())
}

// planned looks at a host and returns what it needs, and who can see to that.
func planned(asked *request, cfg *change.Config) (change.Plan, *change.Changer, error) {
	tree, err := host.Open(asked.root)
	if err != nil {
		return change.Plan{}, nil, err
	}
	memory, err := tree.Memory()
	if err != nil {
		memory = 0 // The items say so.
	}
	cfg.Root = asked.root
	changer := change.New(*cfg)
	ours, err := changer.Ours()
	if err != nil {
		return change.Plan{}, nil, err
	}
	return change.Make(advice.Check(tree, asked.wish), asked.wish, memory, ours, cfg.Namespaced), changer, nil
}

const planManual = `tuning plan prints what a host needs: the file of sysctl.d that apply writes, a drop-in
for the gateway's unit, and what has to be done by hand. It changes nothing.`

func runPlan(args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("tuning plan", planManual)
	asked := askHost(flags)
	cfg := askChange(flags)
	only := flags.String("only", "", "print this `PART` alone, as a file: sysctl, unit or commands")
	flags.BoolVar(&cfg.Namespaced, "netns-only", false, "settings of the network namespace only")
	if err := parse(flags, args, asked); err != nil {
		return err
	}
	p, _, err := planned(asked, cfg)
	if err != nil {
		return err
	}
	switch *only {
	case "sysctl":
		_, err = io.WriteString(stdout, p.Sysctl())
	case "unit":
		_, err = io.WriteString(stdout, p.Unit())
	case "commands":
		_, err = io.WriteString(stdout, p.Commands())
	case "":
		err = printPlan(stdout, p)
	default:
		err = daemon.Usagef("-only %s: want sysctl, unit or commands", *only)
	}
	return err
}

func printPlan(w io.Writer, p change.Plan) error {
	var b strings.Builder
	b.WriteString("## Changes that apply makes\n\n")
	changes := 0
	for _, s := range p.Settings {
		if s.Value != s.Was {
			fmt.Fprintf(&b, "%s: %s → %s\n", s.Key, s.Was, s.Value)
			changes++
		}
	}
	if changes == 0 {
		b.WriteString("none\n")
	}
	fmt.Fprintf(&b, "\n## %s, which apply writes\n\n%s", change.File, p.Sysctl())
	if unit := p.Unit(); unit != "" {
		fmt.Fprintf(&b, "\n## %s, by hand\n\n%s", advice.DropIn, unit)
	}
	if commands := p.Commands(); commands != "" {
		fmt.Fprintf(&b, "\n## By hand\n\n%s", commands)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const applyManual = `tuning apply sets what plan shows, at once and for each boot, or nothing of it. What was
before is written down first: revert brings it back, also after a crash in between.
It may be repeated. It takes root, unless -root or -dry-run is given.`

func runApply(args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("tuning apply", applyManual)
	asked := askHost(flags)
	cfg := askChange(flags)
	flags.BoolVar(&cfg.Namespaced, "netns-only", false, "settings of this network namespace only, as in a container")
	dry := flags.Bool("dry-run", false, "say what would be done, and do nothing")
	if err := parse(flags, args, asked); err != nil {
		return err
	}
	if err := needRoot(asked.root, *dry); err != nil {
		return err
	}
	p, changer, err := planned(asked, cfg)
	if err != nil {
		return err
	}
	do := changer.Apply
	if *dry {
		do = changer.Preview
	}
	done, err := do(p.Settings, p.Sysctl())
	if err != nil {
		return err
	}
	return printApplied(stdout, cfg.File, done, *dry)
}

func printApplied(w io.Writer, file string, done change.Applied, dry bool) error {
	var b strings.Builder
	for _, c := range done.Foreign {
		fmt.Fprintf(&b, "%s: somebody has made %s of our %s; revert will bring that back\n", c.Key, c.To, c.From)
	}
	for _, c := range done.Changes {
		fmt.Fprintf(&b, "%s: %s → %s\n", c.Key, c.From, c.To)
	}
	would := ""
	if dry {
		would = "would be "
	}
	switch {
	case done.Written:
		fmt.Fprintf(&b, "%s%s, %s written\n", would, limits.Count(len(done.Changes), "setting"), file)
	case len(done.Changes) > 0:
		fmt.Fprintf(&b, "%s%s, %s is as it should be\n", would, limits.Count(len(done.Changes), "setting"), file)
	default:
		b.WriteString("all is as it should be\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const revertManual = `tuning revert brings back the settings, and the file of sysctl.d, that were there before
the first apply. What somebody else has changed since is left alone and named: then the exit
status is 1, and -force brings it back, too. It takes root, unless -root is given.`

func runRevert(args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("tuning revert", revertManual)
	cfg := askChange(flags)
	flags.StringVar(&cfg.Root, "root", "", "`DIR` of a captured tree; empty: this host")
	force := flags.Bool("force", false, "also what somebody else has changed since")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := needRoot(cfg.Root, false); err != nil {
		return err
	}
	done, err := change.New(*cfg).Revert(*force)
	if printing := printReverted(stdout, done); err == nil {
		err = printing
	}
	switch {
	case err != nil:
		return err
	case !done.Complete():
		return errors.New("not everything was taken back; -force takes that back, too")
	}
	return nil
}

func printReverted(w io.Writer, done change.Reverted) error {
	var b strings.Builder
	if done.Nothing {
		b.WriteString("nothing was applied here\n")
	}
	for _, c := range done.Changes {
		fmt.Fprintf(&b, "%s: %s → %s\n", c.Key, c.From, c.To)
	}
	for _, key := range done.Gone {
		fmt.Fprintf(&b, "%s: the kernel does not have it any more\n", key)
	}
	for _, c := range done.Foreign {
		fmt.Fprintf(&b, "%s: left alone, somebody has made %s of our %s\n", c.Key, c.To, c.From)
	}
	if done.ForeignFile {
		b.WriteString("the file of sysctl.d: left alone, somebody has edited it\n")
	}
	if done.Deleted {
		b.WriteString("the file of sysctl.d is as it was\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// needRoot refuses what would fail half way.
func needRoot(root string, dry bool) error {
	if root == "" && !dry && os.Geteuid() != 0 {
		return errors.New("this takes root")
	}
	return nil
}
