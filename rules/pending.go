package rules

import "time"

type template struct{}
type location struct{}
type condition struct{}
type giving struct{}
type test struct{}
type age struct{}
type planCache struct{}

const pending = "rules: not built yet"

// Errors are all problems of a rules file, in the order of their places.
type Errors []*Error

func (e Errors) Error() string { panic(pending) }

// An Error is one problem of a rules file.
type Error struct {
	File         string // as it was named to Parse
	Line, Column int    // from 1; columns count characters
	Message      string // what is wrong
	Hint         string // what may have been meant, or what would be right; may be empty
	Text         string // the line
}

// Error returns the place and what is wrong there, and below it the line with a caret and the hint.
func (e *Error) Error() string { panic(pending) }

// Parse reads a rules file strictly. The error is an Errors with every problem. name is what messages call the file.
func Parse(name string, source []byte, opt Options) (*Rules, error) { panic(pending) }

// At returns the rules as of another moment: ages are counted from now, and {now} is it.
func (r *Rules) At(now time.Time) *Rules { panic(pending) }

// Select returns the rules that run when only some tags are asked for, or some are to be skipped.
func (r *Rules) Select(tags, skip []string) *Rules { panic(pending) }

// Tags returns all tags of the rules, sorted.
func (r *Rules) Tags() []string { panic(pending) }

// Locations returns the locations of the enabled rules, each path once, with the widest depth.
func (r *Rules) Locations() []Location { panic(pending) }

// Resolve replaces the path of every location by what absolute returns for it.
func (r *Rules) Resolve(absolute func(path string) (string, error)) []error { panic(pending) }

// Needs returns the facts that the enabled rules may ask for, sorted.
func (r *Rules) Needs() []string { panic(pending) }

// Needs returns the facts that the rule may ask for, sorted.
func (r *Rule) Needs() []string { panic(pending) }

// Duplicates returns which duplicates the enabled rules ask for.
func (r *Rules) Duplicates() []Duplicates { panic(pending) }

// Duplicates is a way to tell the duplicates from the file to keep.
type Duplicates struct {
	Fact     string   // what File.Fact is asked for: the path of the file that this one is a duplicate of
	Keep     string   // oldest, newest, shortest, first or priority
	Priority []string // folders, the dearest first; what is in none of them is kept last
}

// Inside returns the folders below root to which destinations of enabled rules lead, as far as they are written out, for
// the scan to leave alone. Relative destinations are below into, or below each rule's own location if into is empty.
func (r *Rules) Inside(root, into string) []string { panic(pending) }

// A Scope is what of the rules holds for the files directly in one folder.
type Scope struct{}

// Scope returns what holds in dir, which was reached from root, a location or a path that the user gave. Rules without
// locations hold in root, and below it if they say `subfolders: true` or recursive is set.
func (r *Rules) Scope(root, dir string, recursive bool) *Scope { panic(pending) }

// Empty reports whether no rule holds in the folder.
func (s *Scope) Empty() bool { panic(pending) }

// Below reports whether some rule may hold in a subfolder.
func (s *Scope) Below() bool { panic(pending) }

// Decide returns what the rules say about f. It is safe for concurrent use if f.Fact is.
func (s *Scope) Decide(f File) Decision { panic(pending) }

// Explain tells about every rule how it came to its verdict about f.
func (s *Scope) Explain(f File) []Trace { panic(pending) }

// A RenameTemplate makes another name for a file whose name is taken.
type RenameTemplate struct{}

// Name returns the name for the given number. ext is without its dot and may be empty.
func (t *RenameTemplate) Name(stem, ext string, counter int64) string { panic(pending) }

// Portable returns to with every name in it such that FAT, NTFS and exFAT take it.
func Portable(to string) string { panic(pending) }

// A TestResult is the outcome of one of the `tests:` of a rules file.
type TestResult struct {
	Name      string
	File      string // what the test is about
	Line      int
	Pass      bool
	Want, Got string  // in words
	Trace     []Trace // how it came to it
}

// RunTests runs the tests beside the rules.
func (r *Rules) RunTests() []TestResult { panic(pending) }

// Schema returns the JSON Schema (draft 2020-12) of rules files.
func Schema() []byte { panic(pending) }

// An Entry of the Reference is one word of the language.
type Entry struct {
	Kind string // file key, rule key, location key, test key, filter, action, placeholder, format, text filter
	Of   string // for options: the filter or action
	Name string
	Text string // one line
}

// Reference lists every word of the language.
func Reference() []Entry { panic(pending) }
