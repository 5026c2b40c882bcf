//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Sample is one run of one command, from wait4: children that it waited for are included.
type Sample struct {
	Wall, CPU time.Duration
	RSS       int64 // bytes; not below this program's own, which fork lends the child until exec
}

func wall(s Sample) float64 { return s.Wall.Seconds() }
func rss(s Sample) float64  { return float64(s.RSS) / 1e6 }

// median of an even number is the mean of the two in the middle; of none, 0.
func median(xs []float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(xs))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func each(samples []Sample, f func(Sample) float64) []float64 {
	xs := make([]float64, len(samples))
	for i, s := range samples {
		xs[i] = f(s)
	}
	return xs
}

// ratios divides round by round: what slows the whole machine for a while slows both.
func ratios(a, b []float64) []float64 {
	var xs []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			xs = append(xs, a[i]/b[i])
		}
	}
	return xs
}

// Goal is a promise: the median of Values is not above Limit. A Limit of 0 is none: measured to be known.
type Goal struct {
	What   string
	Values []float64
	Limit  float64
	Unit   string // "x" for a ratio
}

// Section is one table of runs, interleaved with each other, and the goals read from it.
type Section struct {
	Title string
	Order []string
	Runs  map[string][]Sample
	Goals []Goal
	Notes []string
}

// ratio adds the goal that wall time of a is at most limit times that of b; where one did not run, nothing.
func (s *Section) ratio(a, b string, limit float64) {
	if len(s.Runs[a]) == 0 || len(s.Runs[b]) == 0 {
		return
	}
	s.Goals = append(s.Goals, Goal{
		What: a + " / " + b, Values: ratios(each(s.Runs[a], wall), each(s.Runs[b], wall)), Limit: limit, Unit: "x",
	})
}

func (s *Section) limit(what, run string, f func(Sample) float64, limit float64, unit string) {
	if xs := each(s.Runs[run], f); len(xs) > 0 {
		s.Goals = append(s.Goals, Goal{What: what, Values: xs, Limit: limit, Unit: unit})
	}
}

func (s *Section) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

func seconds(x float64) string {
	if x < 1 {
		return fmt.Sprintf("%.1f ms", x*1000)
	}
	return fmt.Sprintf("%.2f s", x)
}

func number(x float64, unit string) string {
	switch {
	case unit == "x" && x < 0.1:
		return fmt.Sprintf("%.4fx", x)
	case unit == "x":
		return fmt.Sprintf("%.2fx", x)
	}
	return fmt.Sprintf("%.1f %s", x, unit)
}

// Markdown is the section as two tables: what ran, and what was promised.
func (s *Section) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n\n", s.Title)
	if len(s.Order) > 0 {
		b.WriteString("| command | wall, median | min | max | user+sys | max RSS |\n| --- | --- | --- | --- | --- | --- |\n")
	}
	for _, name := range s.Order {
		runs := s.Runs[name]
		if len(runs) == 0 {
			continue
		}
		w := each(runs, wall)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %.1f MB |\n", name, seconds(median(w)),
			seconds(slices.Min(w)), seconds(slices.Max(w)),
			seconds(median(each(runs, func(s Sample) float64 { return s.CPU.Seconds() }))), median(each(runs, rss)))
	}
	if len(s.Goals) > 0 {
		b.WriteString("\n| goal | measured | limit | measured / limit | met |\n| --- | --- | --- | --- | --- |\n")
	}
	for _, g := range s.Goals {
		m := median(g.Values)
		limit, share, met := "-", "-", "-"
		if g.Limit > 0 {
			limit, share, met = "<= "+number(g.Limit, g.Unit), fmt.Sprintf("%.2f", m/g.Limit), "yes"
			if m > g.Limit {
				met = "**no**"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", g.What, number(m, g.Unit), limit, share, met)
	}
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	return b.String()
}

// replaceBlock puts body between the markers of name in a document, or at its end when it has none yet.
func replaceBlock(doc, name, body string) string {
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->\n"
	block := begin + body + end
	i, j := strings.Index(doc, begin), strings.Index(doc, end)
	if i < 0 || j < i {
		if doc != "" && !strings.HasSuffix(doc, "\n\n") {
			doc += "\n"
		}
		return doc + block
	}
	return doc[:i] + block + doc[j+len(end):]
}
