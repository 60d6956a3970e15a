package main

import (
	"fmt"
	"io"
	"strings"

	"switchboard/bench/result"
	"switchboard/internal/daemon"
)

const compareManual = `bench compare BEFORE AFTER [flags] sets results side by side, metric by metric. Each
of the two is a folder that -out wrote, a result.json, or several with commas
between them: of repeated runs the median counts, and how far they lie apart is the
noise, which a change must exceed.

What only one side has, and what of plan and host differs, is named below the table.

Exit status 99 when something got worse by more than the noise and the tolerance.
A run that is invalid or was aborted is refused.`

// runCompare reads results and writes the table.
func runCompare(args []string, stdout io.Writer) error {
	flags := daemon.NewFlags("bench compare", compareManual)
	tolerance := flags.Float64("tolerance", 0.1, "`SHARE` by which a metric may get worse however little repeated runs differ")
	var sides []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		sides, args = append(sides, args[0]), args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if len(sides) != 2 || *tolerance < 0 {
		return daemon.Usagef("bench compare wants BEFORE and AFTER, then flags; a tolerance is not negative")
	}
	var runs [2][]*result.Result
	for i, side := range sides {
		for name := range strings.SplitSeq(side, ",") {
			r, err := result.Load(name)
			if err != nil {
				return err
			}
			runs[i] = append(runs[i], r)
		}
	}
	table, err := result.Compare(runs[0], runs[1], *tolerance)
	if err != nil {
		return err
	}
	worse := result.PrintComparison(stdout, table)
	for _, remark := range result.Remarks(runs[0], runs[1]) {
		fmt.Fprintln(stdout, remark)
	}
	if worse {
		return daemon.Status(result.StatusThreshold)
	}
	return nil
}
