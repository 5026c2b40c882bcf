package rules

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// An operator says how conditions within a condition make one.
type operator uint8

const (
	leaf operator = iota
	allOf
	anyOf
	noneOf
	notOne
)

func (o operator) String() string { return [...]string{"filter", "all", "any", "none", "not"}[o] }

// A condition is a filter, or several joined by an operator.
type condition struct {
	op   operator
	kids []*condition // as written
	at   *yaml.Node   // where it is written
	line int
	text string // as written, on one line
	cost int

	// Of filters alone:
	test  func(l *look) (Verdict, error) // an error goes with Unsure, and says why
	why   func(l *look) string           // what the file has instead, in words; may be nil
	exts  []string                       // what a name must end in, after a dot; in lower case
	size  *span
	guard func(relative string) bool // of path filters: whether a path below the location fits

	order []*condition // kids, the cheap ones first
	key   string       // equal for conditions that say the same
}

// arrange settles what follows from the kids.
func (c *condition) arrange() {
	c.order = slices.Clone(c.kids)
	slices.SortStableFunc(c.order, func(a, b *condition) int { return a.cost - b.cost })
	keys := make([]string, len(c.kids))
	for i, kid := range c.kids {
		c.cost = max(c.cost, kid.cost)
		keys[i] = kid.key
	}
	slices.Sort(keys)
	if c.op == allOf && len(keys) == 1 {
		c.key = keys[0]
		return
	}
	c.key = fmt.Sprintf("%s%q", c.op, keys)
}

// eval is the one evaluator of conditions. Without a tracer it stops as soon as the verdict is certain and asks cheap
// conditions first; with one it asks all, in the order of the file. The verdict is the same.
func (c *condition) eval(l *look, t *tracer) Verdict {
	if c.op == leaf {
		v, err := c.test(l)
		if v == Unsure {
			if err == nil {
				err = errUntold
			}
			if l.cause.err == nil {
				l.cause = cause{c.text, err}
			}
		}
		t.leaf(c, l, v, err)
		return v
	}
	kids := c.order
	if t != nil {
		kids = c.kids
	}
	slot := t.enter(c)
	before := l.cause
	v := c.join(l, kids, t)
	if v != Unsure {
		l.cause = before // what was unknown made no difference
	}
	t.leave(slot, v)
	return v
}

// join evaluates kids until the verdict is certain. All is the least of the verdicts, any the greatest.
func (c *condition) join(l *look, kids []*condition, t *tracer) Verdict {
	stop, v := No, Yes // of all
	if c.op != allOf {
		stop, v = Yes, No
	}
	for _, kid := range kids {
		k := kid.eval(l, t)
		if c.op == allOf {
			v = min(v, k)
		} else {
			v = max(v, k)
		}
		if v == stop && t == nil {
			break
		}
	}
	if c.op == noneOf || c.op == notOne {
		return Yes - v
	}
	return v
}

var errUntold = errors.New("it cannot be told")

// wrongType is a mistake of whoever answers for facts; the condition is unknown.
func wrongType(fact string, v Value) error {
	return fmt.Errorf("the fact %s is a %T", fact, v)
}

// A tracer writes down what conditions say. A nil tracer writes nothing.
type tracer struct {
	conditions []ConditionTrace
	depth      int
	why        string
}

func (t *tracer) because(why string) {
	if t != nil {
		t.why = why
	}
}

func (t *tracer) leaf(c *condition, l *look, v Verdict, err error) {
	if t == nil {
		return
	}
	trace := ConditionTrace{Depth: t.depth, Text: c.text, Line: c.line, Verdict: v, Err: err}
	switch {
	case err != nil:
		trace.Why = err.Error()
	case c.why != nil:
		trace.Why = c.why(l)
	}
	t.conditions = append(t.conditions, trace)
}

func (t *tracer) enter(c *condition) int {
	if t == nil {
		return 0
	}
	t.conditions = append(t.conditions, ConditionTrace{Depth: t.depth, Text: c.op.String(), Line: c.line})
	t.depth++
	return len(t.conditions) - 1
}

func (t *tracer) leave(slot int, v Verdict) {
	if t == nil {
		return
	}
	t.depth--
	t.conditions[slot].Verdict = v
}
