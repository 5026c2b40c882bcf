//go:build linux

package organizer

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"forg/journal"
)

var (
	someFilters = rapid.SampledFrom([]string{
		"extension: [txt, pdf]", "extension: jpg", "extension: [cr2, xmp]", "name: {contains: [film, page]}", "size: \"> 0\"", "size: \"< 20\"",
		"category: Documents", "category: [Images, Videos]", "mime: \"text/*\"", "duplicate", "duplicate: {keep: newest}", "empty: true",
		"modified: {before: 2000-01-01}", "not: {extension: txt}", "any: [{extension: srt}, {extension: mkv}]", "regex: \"^(?P<first>.)\"",
		"mismatch: true", "hash: {blake3: 0000000000000000000000000000000000000000000000000000000000000000}",
	})
	somePlaces = rapid.SampledFrom([]string{
		"Sorted/", "{ext}/", "{category}/{modified:%Y}/", "~/into/", "~/into/{ext ?? \\\"none\\\"}/", "Sorted/{name|lower}.{ext}", "{size}/",
	})
	someActions = rapid.Custom(func(t *rapid.T) string {
		kind := rapid.SampledFrom([]string{"move", "move", "move", "copy", "hardlink", "symlink", "write", "rename", "trash", "echo"}).Draw(t, "action")
		switch kind {
		case "trash":
			return "trash"
		case "symlink":
			return "symlink: Links/"
		case "write":
			return "write: {file: log.txt, text: \"{name}\"}"
		case "echo":
			return "echo: \"{name}\""
		case "rename":
			return "rename: \"" + rapid.SampledFrom([]string{"{name|upper}.{ext}", "{name}-{size}", "same"}).Draw(t, "as") + "\""
		}
		conflict := rapid.SampledFrom([]string{"", ", on_conflict: skip", ", on_conflict: overwrite", ", rename_template: \"{name}_{counter}\""}).Draw(t, "conflict")
		return fmt.Sprintf("%s: {dest: \"%s\"%s}", kind, somePlaces.Draw(t, "place"), conflict)
	})
)

// chooseRules is a random rules file.
func (d *desk) chooseRules() string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for n := range rapid.IntRange(1, 4).Draw(d.rt, "rules") {
		fmt.Fprintf(&b, "- name: rule %d\n  subfolders: %v\n  continue: %v\n", n, rapid.Bool().Draw(d.rt, "subfolders"), rapid.IntRange(0, 3).Draw(d.rt, "continue") == 0)
		if filters := rapid.SliceOfN(someFilters, 0, 2).Draw(d.rt, "filters"); len(filters) > 0 {
			b.WriteString("  filters:\n  - " + strings.Join(filters, "\n  - ") + "\n")
		}
		b.WriteString("  actions:\n  - " + strings.Join(rapid.SliceOfN(someActions, 1, 3).Draw(d.rt, "actions"), "\n  - ") + "\n")
	}
	return b.String()
}

// Whatever rules make of a tree, undo gives back exactly, redo does again, and no content is ever lost.
func TestRulesUndoRedo(t *testing.T) {
	checkProperty(t, func(rt *rapid.T, d *desk) {
		c := d.choose()
		c.rules = d.chooseRules()
		before, contents := d.snapshot(), d.contents()
		p := d.plan(c)
		res, err := Apply(t.Context(), d.j, p, d.runOptions(c))
		d.must(err)
		d.noneLost(contents)
		after := d.shape()
		if res.ID == 0 {
			d.same("nothing to do", before, d.snapshot())
			return
		}
		for _, q := range res.Problems {
			rt.Fatalf("%s\n%v", c.rules, q.Err)
		}
		d.reverse(d.operation(res.ID), true)
		d.same("undo of\n"+c.rules, before, d.snapshot())
		d.noneLost(contents)
		if o := d.operation(res.ID); o.Status != journal.Undone {
			rt.Fatalf("undone, but its status is %s", o.Status)
		}
		d.reverse(d.operation(res.ID), false)
		d.noneLost(contents)
		d.same("redo of\n"+c.rules, after, d.shape())
		d.undoAll()
		d.same("undo of the redo", before, d.snapshot())
	})
}
