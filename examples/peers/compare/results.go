package main

import (
	"cmp"
	"encoding/json"
	"os"
	"slices"
)

// results is the file that a comparison leaves.
type results struct {
	Date      string            `json:"date"`
	Go        string            `json:"go"`
	CPU       string            `json:"cpu"`
	Kernel    string            `json:"kernel"`
	Versions  map[string]string `json:"versions"`
	Rounds    int               `json:"rounds"`
	Duration  string            `json:"duration"`
	Scenarios []*outcome        `json:"scenarios"`
}

// outcome is that of one scenario.
type outcome struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	What  string `json:"what"` // the values are: "CPU per message"
	Unit  string `json:"unit"` // "ns" or "bytes"
	Base  string `json:"base,omitempty"`
	Rows  []*row `json:"rows"`
}

// row is one library in one scenario.
type row struct {
	Lib     string    `json:"lib"`
	Median  sample    `json:"median"`
	Ratio   *spread   `json:"ratio,omitempty"` // to the base, within a round
	Target  float64   `json:"target,omitempty"`
	Values  []float64 `json:"values"` // of each round, 0 where it failed
	samples []*sample // nil where it failed
	// Syscalls is the number of each for a message.
	Syscalls map[string]float64 `json:"syscalls,omitempty"`
	Error    string             `json:"error,omitempty"`
}

// spread is a median and what it is the median of.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// median returns the middle of v, and 0 of nothing. It sorts v.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	n := len(v) / 2
	if len(v)%2 == 1 {
		return v[n]
	}
	return (v[n-1] + v[n]) / 2
}

// ratios returns the spread of value/base within each round, of the rounds that
// have both, and nil if none has.
func ratios(value, base []*sample) *spread {
	var v []float64
	for i := range min(len(value), len(base)) {
		if value[i] != nil && base[i] != nil && base[i].Value > 0 {
			v = append(v, value[i].Value/base[i].Value)
		}
	}
	if len(v) == 0 {
		return nil
	}
	return &spread{Median: median(v), Min: v[0], Max: v[len(v)-1]}
}

// middle returns the median of every field, each by itself.
func middle(samples []*sample) sample {
	of := func(field func(*sample) float64) float64 {
		var v []float64
		for _, s := range samples {
			if s != nil {
				v = append(v, field(s))
			}
		}
		return median(v)
	}
	return sample{
		Value:    of(func(s *sample) float64 { return s.Value }),
		Rate:     of(func(s *sample) float64 { return s.Rate }),
		P50:      of(func(s *sample) float64 { return s.P50 }),
		P99:      of(func(s *sample) float64 { return s.P99 }),
		Busy:     of(func(s *sample) float64 { return s.Busy }),
		LoadBusy: of(func(s *sample) float64 { return s.LoadBusy }),
	}
}

// reckon fills in what follows from the samples.
func (o *outcome) reckon() {
	var base []*sample
	if i := slices.IndexFunc(o.Rows, func(r *row) bool { return r.Lib == o.Base }); i >= 0 {
		base = o.Rows[i].samples
	}
	for _, r := range o.Rows {
		r.Median = middle(r.samples)
		r.Ratio = ratios(r.samples, base)
		r.Values = nil
		for _, m := range r.samples {
			v := 0.0
			if m != nil {
				v = m.Value
			}
			r.Values = append(r.Values, v)
		}
	}
}

// score is what the target of a row is about: the ratio, or KiB where there is
// no base; 0 is none.
func (o *outcome) score(r *row) float64 {
	switch {
	case o.Base == "":
		return r.Median.Value / 1024
	case r.Ratio != nil:
		return r.Ratio.Median
	}
	return 0
}

// size is what a bar of a row shows: the ratio, or the value where there is none.
func (o *outcome) size(r *row) float64 {
	if r.Ratio != nil {
		return r.Ratio.Median
	}
	return r.Median.Value
}

// sorted returns the rows that have a value, the best first.
func (o *outcome) sorted() []*row {
	rows := slices.DeleteFunc(slices.Clone(o.Rows), func(r *row) bool { return r.Median.Value == 0 })
	slices.SortStableFunc(rows, func(a, b *row) int { return cmp.Compare(o.size(a), o.size(b)) })
	return rows
}

func (r *results) write(path string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
