package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// print writes the table of one scenario.
func (o *outcome) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s, %s", o.Name, o.Title, o.What)
	if o.Base != "" {
		fmt.Fprintf(w, "; ratio to %s", o.Base)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "lib\tvalue\tratio\tmin..max\ttarget\t\trate/s\tp50 µs\tp99 µs\tbusy\tload busy\t")
	for _, r := range o.Rows {
		if r.Median.Value == 0 {
			fmt.Fprintf(t, "%s\tfailed\t\t\t\t\t\t\t\t\t\t\n", r.Lib)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t", r.Lib, o.format(r.Median.Value))
		if r.Ratio != nil {
			fmt.Fprintf(t, "%.3f\t%.2f..%.2f\t", r.Ratio.Median, r.Ratio.Min, r.Ratio.Max)
		} else {
			fmt.Fprint(t, "\t\t")
		}
		verdict := ""
		if score := o.score(r); r.Target > 0 && score > 0 {
			verdict = "ok"
			if score > r.Target {
				verdict = "MISS"
			}
			fmt.Fprintf(t, "%.4g\t%s\t", r.Target, verdict)
		} else {
			fmt.Fprint(t, "\t\t")
		}
		if m := r.Median; m.Rate > 0 {
			fmt.Fprintf(t, "%.0f\t%.0f\t%.0f\t%.0f%%\t%.0f%%\t\n", m.Rate, m.P50, m.P99, 100*m.Busy, 100*m.LoadBusy)
		} else {
			fmt.Fprint(t, "\t\t\t\t\t\n")
		}
	}
	t.Flush()
	for _, r := range o.Rows {
		if r.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", r.Lib, r.Error)
		}
	}
	for _, r := range o.Rows {
		if len(r.Syscalls) > 0 {
			fmt.Fprintf(w, "system calls, %s: %s\n", r.Lib, syscalls(r.Syscalls))
		}
	}
}

// format writes a value in its unit.
func (o *outcome) format(v float64) string {
	switch {
	case o.Unit == "bytes":
		return fmt.Sprintf("%.2f KiB", v/1024)
	case v >= 10e3:
		return fmt.Sprintf("%.1f µs", v/1e3)
	case v >= 1e3:
		return fmt.Sprintf("%.2f µs", v/1e3)
	}
	return fmt.Sprintf("%.0f ns", v)
}

// syscalls lists system calls, the most frequent first, without those that
// hardly count.
func syscalls(calls map[string]float64) string {
	names := slices.SortedFunc(maps.Keys(calls), func(a, b string) int { return cmp.Compare(calls[b], calls[a]) })
	var parts []string
	for _, name := range names {
		if calls[name] >= 0.0005 {
			parts = append(parts, fmt.Sprintf("%s %.3f", name, calls[name]))
		}
	}
	return strings.Join(parts, ", ")
}
