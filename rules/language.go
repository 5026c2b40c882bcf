package rules

import (
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// A File is what rules ask about a file or a folder. Dir and Name are asked often and must be cheap; Fact may read the
// disk and is asked at most once for each fact while a decision is made.
type File interface {
	// Dir is the absolute path of the folder that holds the file, with / between names on every system.
	Dir() string

	// Name is the full name within Dir.
	Name() string

	// Fact returns what is known under one of the names of facts (FactSize, ...), of the type that is written beside the
	// name. It returns nil, nil for what the file does not have, as a PDF has no artist, and an error for what cannot be
	// told, because it is unreadable, damaged or over a limit. The condition that asked is then unknown.
	Fact(name string) (Value, error)
}

// A Value is a string, int64, float64, bool, time.Time, []string or, for FactExif alone, map[string]string.
type Value = any

// The names of facts, with their types. There are also the duplicates of DuplicateFact.
const (
	FactDir       = "dir"        // bool: the target is a folder
	FactSize      = "size"       // int64, bytes
	FactCreated   = "created"    // time.Time; nil where the file system does not record it
	FactModified  = "modified"   // time.Time
	FactAccessed  = "accessed"   // time.Time
	FactDateAdded = "date_added" // time.Time; macOS alone has it
	FactTaken     = "taken"      // time.Time, in the camera's own zone; in UTC where that is not known
	FactEmpty     = "empty"      // bool: a file without content, or a folder without entries

	FactCategory        = "category" // string: by extension where that is sure, else by content
	FactType            = "type"     // string: the type within the category
	FactMIME            = "mime"     // string
	FactContentCategory = "category:content"
	FactContentType     = "type:content"
	FactContentMIME     = "mime:content"
	FactMismatch        = "mismatch" // bool: the content is not what the extension says

	FactExif             = "exif"              // map[string]string, lower-case dotted keys such as image.model
	FactImageWidth       = "image.width"       // int64, pixels, as shown: after rotation
	FactImageHeight      = "image.height"      // int64
	FactImageOrientation = "image.orientation" // string: landscape, portrait or square
	FactVideoWidth       = "video.width"       // int64
	FactVideoHeight      = "video.height"      // int64
	FactVideoDuration    = "video.duration"    // float64, seconds
	FactVideoOrientation = "video.orientation" // string
	FactAudioArtist      = "audio.artist"      // string
	FactAudioAlbumArtist = "audio.albumartist" // string
	FactAudioAlbum       = "audio.album"       // string
	FactAudioTitle       = "audio.title"       // string
	FactAudioGenre       = "audio.genre"       // string
	FactAudioComposer    = "audio.composer"    // string
	FactAudioYear        = "audio.year"        // int64
	FactAudioTrack       = "audio.track"       // int64
	FactAudioDisc        = "audio.disc"        // int64
	FactAudioDuration    = "audio.duration"    // float64, seconds

	FactText       = "text"        // string: all text of a document
	FactHashBLAKE3 = "hash.blake3" // string, hexadecimal
	FactHashSHA256 = "hash.sha256"
	FactHashSHA1   = "hash.sha1"
	FactHashMD5    = "hash.md5"
	FactOrigin     = "origin"  // []string: URLs, that of the file first, then that of the page
	FactTags       = "tags"    // []string
	FactArchive    = "archive" // []string: the names in an archive, with /
)

// Options are what Parse needs to know of the world.
type Options struct {
	// Set splits names and knows the categories. Nil stands for Builtin().
	Set *Set

	// Home is what ~/ stands for, with / between names. If it is empty, ~/ is an error at its place.
	Home string

	// Env looks up {env.NAME}. It is asked by Parse alone. If it is nil, no variable is set.
	Env func(name string) (string, bool)

	// Now is the moment from which ages are counted, and {now}. Dates in rules are in its zone. See Rules.At.
	Now time.Time

	// ReadFile reads the list that a hash filter names (`list:`). If it is nil, such a list is an error at its place.
	ReadFile func(path string) ([]byte, error)

	// Windows says that paths may start with a drive (C:/), and that what Windows refuses in a name is always replaced in
	// values. Elsewhere use Portable for a destination on FAT or NTFS.
	Windows bool
}

// Rules are the compiled rules of one file. But for Resolve nothing changes them, and all methods but that are safe for
// concurrent use.
type Rules struct {
	rules   []*Rule
	tests   []*testCase
	opt     Options
	facts   []string    // what is asked of files; conditions and templates know a fact by its index
	cutoffs []time.Time // moments that ages stand for, by index
	ages    []age
	plans   *planCache
}

// A Rule is one rule of a file.
type Rule struct {
	Name     string // unique within the file
	Line     int    // where it starts, from 1
	Tags     []string
	Enabled  bool
	Continue bool // later rules have their say about a file that this one matched
	Targets  Targets
	Actions  []Action

	at        *yaml.Node
	locations []location
	anywhere  bool       // no locations: the rule holds wherever it is used
	deep      bool       // subfolders: true
	where     *condition // nil holds always
	env       []giving   // what exec hands on in the environment
	exts      []string   // nil, or the extensions of which a file must have one for the rule to match
	asks      []string   // facts
}

// Targets says what a rule is about.
type Targets uint8

// What rules are about.
const (
	Files Targets = iota
	Dirs
)

func (t Targets) String() string {
	if t == Dirs {
		return "dirs"
	}
	return "files"
}

// An ActionKind is what an action does.
type ActionKind uint8

// The kinds of actions. ActionKind.String uses the words of rules files.
const (
	Move ActionKind = iota + 1
	Copy
	Rename
	Trash
	Hardlink
	Symlink
	Reflink
	Extract
	Tag
	Write
	Echo
	Confirm
	Exec
)

// An Action is something that a rule does with the files that it matches.
type Action struct {
	Kind ActionKind
	Line int    // where it stands, from 1
	Text string // as written, on one line

	column   int
	to       *target   // destination, new name, or file to write
	text     *template // write, echo, confirm
	argv     []*template
	conflict string
	rename   *RenameTemplate
	mode     string
	newline  bool
	add      []*template
	remove   []*template
	set      bool
}

// A Location is a folder that rules look at.
type Location struct {
	Path     string // as resolved
	MaxDepth int    // how many levels of subfolders: 0 is the folder alone, -1 means all
}

// A Decision is what rules say about one file.
type Decision struct {
	Steps   []Step    // what to do, in order; none if no rule matched
	Unknown []Unknown // rules that something unknown kept from matching, in order
}

// An Unknown is a rule that did not match because something could not be told.
type Unknown struct {
	Rule      *Rule
	Condition string // the condition or placeholder, as written
	Err       error
}

// A Step is an action with everything filled in for one file.
type Step struct {
	Rule *Rule
	Kind ActionKind

	// Location is the folder from which the rule saw the file: that of the rule, or the root given to Scope.
	Location string

	// To is where the file goes, or the file that is written, with / between names: absolute, or below the destination
	// root. It never holds a component "." or "..". For Rename it is a name in the folder where the file lies. For Extract
	// it is the folder that the archive's content goes to. Empty for other kinds, and with Folder for the destination root.
	To string

	// Root is the part of an absolute To that the rule's author wrote out: links in it may be followed. What a file's own
	// values add behind it must not lead through a link.
	Root string

	// Folder says that To was taken for a folder, because it was written with a / at its end. The file keeps its name in it.
	Folder bool

	// Text is what to write, say or ask. A text to write ends in a line break if one was asked for.
	Text string

	// Argv is the program to run and its arguments. What comes from the file is always a single argument, or a part of one.
	Argv []string

	// Env holds FORG_NAME=value for what the filters gave. It is to be added to the environment of the program.
	Env []string

	// Conflict says what to do if the name is taken: rename, skip, overwrite, newer or fail; "" if the rule leaves it to
	// the run.
	Conflict string

	// RenameTemplate makes another name if it is taken; nil if the rule leaves it to the run. A nil RenameTemplate works,
	// as "{name} ({counter})".
	RenameTemplate *RenameTemplate

	// Mode says how a text is written: append, prepend or overwrite.
	Mode string

	// Add and Remove are tags. Set says that Add replaces the tags there were.
	Add, Remove []string
	Set         bool

	// Counted says that the step holds a {counter}, for which 1 was filled in. The caller numbers such steps with
	// WithCounter, in the order of its plan.
	Counted bool

	again func(counter int64) Step
}

// WithCounter returns s with another number for {counter}. If s is not Counted, it returns s.
func (s Step) WithCounter(n int64) Step {
	if s.again == nil {
		return s
	}
	return s.again(n)
}

// A Verdict is what a condition says about a file.
type Verdict uint8

// The verdicts. Unknown never matches, and the opposite of unknown is unknown.
const (
	No Verdict = iota
	Unsure
	Yes
)

func (v Verdict) String() string { return [...]string{"no", "unknown", "yes"}[v] }

// A Trace tells how one rule came to its verdict about a file.
type Trace struct {
	Rule       *Rule
	Verdict    Verdict
	Why        string // in words, what decided if it was not the conditions; may be empty
	Skipped    bool   // an earlier rule took the file; Verdict says what this one would have said
	Conditions []ConditionTrace
	Steps      []Step // what the rule does with the file
}

// A ConditionTrace is the part of one condition in a Trace.
type ConditionTrace struct {
	Depth   int    // how many all, any, none or not are around it
	Text    string // as written, or all, any, none, not
	Line    int    // from 1; 0 for a filter_mode that was not written
	Verdict Verdict
	Why     string // "it is 12 kB"; empty if the text says it all
	Err     error  // why the verdict is unknown
}

// All returns all rules in the order of their file. The caller must not change them.
func (r *Rules) All() []*Rule { return slices.Clone(r.rules) }
