package rules

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
)

var looks = sync.Pool{New: func() any { return new(look) }}

// Decide returns what the rules say about f, a file directly in the folder of s. The first rule that matches decides,
// and with it later ones for as long as they say continue. Decide is safe for concurrent use.
func (s *Scope) Decide(f File) Decision {
	var d Decision
	if len(s.held) == 0 {
		return d
	}
	l := looks.Get().(*look)
	defer l.release()
	l.start(s.rules, f)
	var space [4]uint64
	for i, word := range s.plan.candidates(l, space[:]) {
		for ; word != 0; word &= word - 1 {
			h := &s.held[i*64+bits.TrailingZeros64(word)]
			switch verdict, steps := h.match(l, nil); verdict {
			case Yes:
				d.Steps = append(d.Steps, steps...)
				if !h.rule.Continue {
					return d
				}
			case Unsure:
				d.Unknown = append(d.Unknown, Unknown{h.rule, l.cause.text, l.cause.err})
			}
		}
	}
	return d
}

// release gives l back for the next file. Nothing of this one stays in memory.
func (l *look) release() {
	facts := l.facts
	clear(facts)
	*l = look{facts: facts}
	looks.Put(l)
}

// match says whether the rule matches the file, and what it does then. If the verdict is Unsure, l.cause says why. It is
// the one way to a verdict: with a tracer, it also writes down how it came about.
func (h *held) match(l *look, t *tracer) (Verdict, []Step) {
	rule := h.rule
	if l.isDir != (rule.Targets == Dirs) {
		t.because("the rule is about " + rule.Targets.String())
		return No, nil
	}
	l.rule, l.location, l.below, l.cause = rule, h.location, h.below, cause{}
	if h.dir != "" {
		l.dir = h.dir
	}
	if h.at != nil && !l.isDir && h.at.leavesOut(l.name, l.relative()) {
		t.because("exclude_files leaves it out")
		return No, nil
	}
	if rule.where != nil {
		if v := rule.where.eval(l, t); v != Yes {
			if v == Unsure {
				t.because(fmt.Sprintf("%s is unknown: %s", l.cause.text, l.cause.err))
			}
			return v, nil
		}
	}
	steps := make([]Step, len(rule.Actions))
	for i := range rule.Actions {
		a := &rule.Actions[i]
		var err error
		if steps[i], err = a.step(l); err != nil {
			text := a.Text
			if missing, ok := errors.AsType[noValueError](err); ok {
				text = "{" + missing.source + "}"
			}
			l.cause = cause{text, err}
			t.because(fmt.Sprintf("%s: %s", a.Kind, err))
			return Unsure, nil
		}
	}
	return Yes, steps
}

// Explain tells about every rule how it came to its verdict about f, which must lie directly in the folder of s. It asks
// for more facts than Decide, but the verdicts are the same.
func (s *Scope) Explain(f File) []Trace {
	l := looks.Get().(*look)
	defer l.release()
	l.start(s.rules, f)
	var all []Trace
	taken := ""
	next := 0
	for _, rule := range s.rules.rules {
		trace := Trace{Rule: rule}
		if next >= len(s.held) || s.held[next].rule != rule {
			_, _, trace.Why = rule.holds(s.root, s.dir, s.recursive)
			all = append(all, trace)
			continue
		}
		t := &tracer{}
		trace.Verdict, trace.Steps = s.held[next].match(l, t)
		next++
		trace.Conditions, trace.Why = t.conditions, t.why
		switch {
		case taken != "":
			trace.Why = fmt.Sprintf("not asked: the rule %q has the file", taken)
			trace.Skipped, trace.Steps = true, nil
		case trace.Verdict == Yes && !rule.Continue:
			taken = rule.Name
		}
		all = append(all, trace)
	}
	return all
}
