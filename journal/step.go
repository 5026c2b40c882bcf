package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Action is what a step does to the disk.
type Action uint8

// The actions. Their numbers are part of the file format.
const (
	Mkdir     Action = 1 + iota // make the folder To in ToDir
	Rmdir                       // remove the empty folder From in FromDir
	Rename                      // rename within a file system, never replacing
	Move                        // across file systems: copy, verify, rename into place, unlink the source
	Copy                        // the same without the unlink
	Uncopy                      // remove the copy From in FromDir that a Copy made; To in ToDir is its original
	Trash                       // Rename into a trash folder, with the .trashinfo beside it
	Untrash                     // Rename out of it
	Link                        // make To in ToDir a hard link of From in FromDir
	Unlink                      // remove the hard link From in FromDir that a Link made; To in ToDir is the file that stays
	Exchange                    // swap two names of one file system; File is what comes to bear the name To
	Symlink                     // make To in ToDir a symbolic link of the text Meta; From in FromDir is what it leads to
	Unsymlink                   // remove the symbolic link From in FromDir that a Symlink made; To in ToDir is what it led to
	Tag                         // change the tags of From in FromDir, which To in ToDir is as well, as Meta says
	Write                       // make To in ToDir of the text in Meta and of From in FromDir, the version before, if there was one
	Unwrite                     // Trash of the file From in FromDir that a Write made, if it is still that
	Extract                     // make To in ToDir a folder of what is in the archive From in FromDir
	Unextract                   // Trash of the folder From in FromDir that an Extract made, if it is still that
	Exec                        // run the program that Meta names for From in FromDir, which To in ToDir is as well
	Replace                     // Trash of the duplicate From in FromDir, in whose place comes a link to the file that Meta names
	Restore                     // Untrash of what a Replace took from To in ToDir, in the place of the link that it made
	Share                       // let From in FromDir, which To in ToDir is as well, share its blocks with the equal file that Meta names
	Unshare                     // give From in FromDir, which To in ToDir is as well, blocks of its own again
)

var actionNames = [...]string{"", "mkdir", "rmdir", "rename", "move", "copy", "uncopy", "trash", "untrash", "link", "unlink", "exchange",
	"symlink", "unsymlink", "tag", "write", "unwrite", "extract", "unextract", "exec",
	"replace", "restore", "share", "unshare"}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action %d", uint8(a))
}

// ActionOf is the action of a name as String gives it; 0 where this forg knows none of that name.
func ActionOf(name string) Action { return Action(max(0, slices.Index(actionNames[:], name))) }

// Places reports whether the action brings something of the user's to To that was not there before.
func (a Action) Places() bool {
	switch a {
	case Copy, Symlink, Write, Extract:
		return true
	}
	return a.Takes()
}

// Takes reports whether what the action places at To is what was at From, where it is no longer; after a Replace a link is
// there.
func (a Action) Takes() bool {
	return a == Rename || a == Move || a == Untrash || a == Restore || a.Trashes()
}

// Trashes reports whether the action moves From into a trash folder.
func (a Action) Trashes() bool { return a == Trash || a == Unwrite || a == Unextract || a == Replace }

// Counts reports whether a step counts as a file moved in the numbers of its operation: whether something was done to a
// file. Steps that only prepare others, or take a name away, do not.
func (a Action) Counts() bool {
	return a.Places() || a == Tag || a == Exec || a == Share || a == Unshare
}

// Identity is what tells a file from every other: inode and birth time within a file system, with size and time of
// modification to see that it was edited since.
type Identity struct {
	Ino   uint64
	Born  int64 // birth time in ns since 1970, 0 where the file system has none
	Size  int64 // bytes
	Mtime int64 // ns since 1970
	Mode  uint32
}

// SameFile reports whether two identities of one file system are one file, edited or not.
func (a Identity) SameFile(b Identity) bool { return a.Ino == b.Ino && a.Born == b.Born && a.Ino != 0 }

// Folder is a folder that steps of an operation refer to, as it was before the operation touched it.
type Folder struct {
	Path   string // absolute, clean
	Volume uint64 // file system id that is the same after a reboot (statfs f_fsid), 0 if unknown
	Ino    uint64 // 0: did not exist
	Mtime  int64
	Atime  int64
}

// Step is one change to the disk, as intended before it is made.
type Step struct {
	No      int64 // 1, 2, 3, ... within the operation
	Action  Action
	FromDir *Folder
	From    string // name in FromDir
	ToDir   *Folder
	To      string // name in ToDir
	File    Identity
	Ref     int64  // undo and redo: the step of the operation they are about
	Meta    []byte // what else it takes to carry out or reverse the step (attributes of a removed folder, a link's text)
	Label   string // category or rule
	Unit    int64  // steps of one unit stand or fall together (a bundle), 0 if alone
}

// Counts reports whether the step counts as a file moved. A hard link does where it stands for itself, and not where it only
// takes the place of a duplicate, which goes to the trash.
func (s *Step) Counts() bool { return s.Action.Counts() || s.Action == Link && s.Unit == 0 }

// FromPath and ToPath are absolute; "" where the action has no such side.
func (s *Step) FromPath() string { return s.FromDir.join(s.From) }
func (s *Step) ToPath() string   { return s.ToDir.join(s.To) }

func (f *Folder) join(name string) string {
	if f == nil {
		return ""
	}
	return filepath.Join(f.Path, name)
}

// State is what became of a step.
type State uint8

// The states. Their numbers are part of the file format.
const (
	Done    State = 1 + iota // as intended; not written, it is what a settled step is unless told otherwise
	Skipped                  // not done, on purpose; nothing changed
	Failed                   // not done, because of an error; nothing changed
	NotDone                  // not reached: interrupted before it
	Lost                     // after a crash neither name holds the file: somebody else changed it
	Copying                  // a temporary copy may exist under the step's hidden name
	Copied                   // the temporary copy is complete and on disk; Ino, Born and Hash tell which it is
	Unknown                  // of a running operation, or of one that nobody has settled yet
	Started                  // the program of an Exec was about to run, and nothing is known of its end
)

var stateNames = [...]string{"", "done", "skipped", "failed", "not done", "lost", "copying", "copied", "unknown", "started"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Outcome is what became of Count steps beginning with No.
type Outcome struct {
	No, Count int64
	State     State
	Err       string
	Ino       uint64 // of the new file, when content was copied
	Born      int64
	Hash      []byte // BLAKE3 of the content, when it was copied or written; of an extracted folder its digest
}

// A files event is: version, folders, steps. Folders are front-coded; numbers are varints; inode, birth and
// modification time are differences to the step before, since neighbours are alike. So a move costs its name and some
// twenty bytes.
const eventVersion = 1

// labelsVersion is the version of files events in which a label that came before in the event is named by its number.
const labelsVersion = 2

const (
	hasTo = 1 << iota // To differs from From
	hasFromDir
	hasToDir
	hasRef
	hasMeta
	newLabel
	hasUnit
	newMode
)

type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func encodeSteps(steps []Step) []byte {
	index := map[*Folder]uint64{}
	var folders []*Folder
	add := func(f *Folder) {
		if f == nil {
			return
		}
		if _, ok := index[f]; !ok {
			index[f] = uint64(len(folders))
			folders = append(folders, f)
		}
	}
	for i := range steps {
		add(steps[i].FromDir)
		add(steps[i].ToDir)
	}
	e := encoder{make([]byte, 0, 64+48*len(steps))}
	e.uint(labelsVersion)
	e.uint(uint64(len(folders)))
	last := ""
	for _, f := range folders {
		n := 0
		for n < len(last) && n < len(f.Path) && last[n] == f.Path[n] {
			n++
		}
		e.uint(uint64(n))
		e.string(f.Path[n:])
		e.uint(f.Volume)
		e.uint(f.Ino)
		e.int(f.Mtime)
		e.int(f.Atime - f.Mtime)
		last = f.Path
	}
	e.uint(uint64(len(steps)))
	var prev Step
	labels := map[string]uint64{}
	for i := range steps {
		s := &steps[i]
		var flags uint64
		set := func(on bool, bit uint64) {
			if on {
				flags |= bit
			}
		}
		set(s.To != s.From, hasTo)
		set(s.FromDir != nil, hasFromDir)
		set(s.ToDir != nil, hasToDir)
		set(s.Ref != 0, hasRef)
		set(len(s.Meta) > 0, hasMeta)
		set(s.Label != prev.Label, newLabel)
		set(s.Unit != 0, hasUnit)
		set(s.File.Mode != prev.File.Mode, newMode)
		e.b = append(e.b, byte(s.Action), byte(flags))
		e.int(s.No - prev.No)
		if s.FromDir != nil {
			e.uint(index[s.FromDir])
		}
		if s.ToDir != nil {
			e.uint(index[s.ToDir])
		}
		e.string(s.From)
		if flags&hasTo != 0 {
			e.string(s.To)
		}
		e.int(int64(s.File.Ino - prev.File.Ino))
		e.int(s.File.Born - prev.File.Born)
		e.uint(uint64(s.File.Size))
		e.int(s.File.Mtime - prev.File.Mtime)
		if flags&newMode != 0 {
			e.uint(uint64(s.File.Mode))
		}
		if flags&hasRef != 0 {
			e.int(s.Ref - prev.Ref)
		}
		if flags&hasMeta != 0 {
			e.string(string(s.Meta))
		}
		if flags&newLabel != 0 {
			n := labels[s.Label]
			if e.uint(n); n == 0 {
				e.string(s.Label)
				labels[s.Label] = uint64(len(labels)) + 1
			}
		}
		if flags&hasUnit != 0 {
			e.uint(uint64(s.Unit))
		}
		ref := prev.Ref
		prev = *s
		if s.Ref == 0 {
			prev.Ref = ref
		}
	}
	return e.b
}

var errShort = errors.New("event cut short")

type decoder struct {
	b   []byte
	err error
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.err, d.b = errShort, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.err, d.b = errShort, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.err = errShort
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) string() string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.err, d.b = errShort, nil
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

// count reads a number of things that take at least size bytes each, so that a damaged number cannot ask for more
// memory than the event could fill.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size+1) {
		d.err, d.b = errShort, nil
		return 0
	}
	return int(n)
}

// maxPaths bounds what the folders of one event may take: front coding could blow up a damaged one without end.
const maxPaths = 64 << 20

func decodeSteps(b []byte) ([]Step, error) {
	d := decoder{b: b}
	version := d.uint()
	if version != eventVersion && version != labelsVersion {
		return nil, fmt.Errorf("steps of version %d, this forg knows %d", version, labelsVersion)
	}
	var labels []string
	label := func() string {
		n := uint64(0)
		if version >= labelsVersion {
			n = d.uint()
		}
		switch {
		case n == 0:
			labels = append(labels, d.string())
			return labels[len(labels)-1]
		case n > uint64(len(labels)):
			d.err = errShort
			return ""
		}
		return labels[n-1]
	}
	folders := make([]*Folder, d.count(6))
	last, size := "", 0
	for i := range folders {
		n := d.uint()
		if n > uint64(len(last)) {
			return nil, errShort
		}
		f := &Folder{Path: last[:n] + d.string(), Volume: d.uint(), Ino: d.uint(), Mtime: d.int()}
		f.Atime = f.Mtime + d.int()
		folders[i], last = f, f.Path
		if size += len(f.Path); size > maxPaths {
			return nil, errShort
		}
	}
	folder := func() *Folder {
		i := d.uint()
		if i >= uint64(len(folders)) {
			d.err = errShort
			return nil
		}
		return folders[i]
	}
	steps := make([]Step, d.count(8))
	var prev Step
	for i := range steps {
		s := &steps[i]
		s.Action = Action(d.byte())
		flags := uint64(d.byte())
		s.No = prev.No + d.int()
		if flags&hasFromDir != 0 {
			s.FromDir = folder()
		}
		if flags&hasToDir != 0 {
			s.ToDir = folder()
		}
		s.From = d.string()
		s.To = s.From
		if flags&hasTo != 0 {
			s.To = d.string()
		}
		s.File.Ino = prev.File.Ino + uint64(d.int())
		s.File.Born = prev.File.Born + d.int()
		s.File.Size = int64(d.uint())
		s.File.Mtime = prev.File.Mtime + d.int()
		s.File.Mode = prev.File.Mode
		if flags&newMode != 0 {
			s.File.Mode = uint32(d.uint())
		}
		if flags&hasRef != 0 {
			s.Ref = prev.Ref + d.int()
		}
		if flags&hasMeta != 0 {
			s.Meta = []byte(d.string())
		}
		s.Label = prev.Label
		if flags&newLabel != 0 {
			s.Label = label()
		}
		if flags&hasUnit != 0 {
			s.Unit = int64(d.uint())
		}
		if d.err != nil {
			return nil, d.err
		}
		if s.FromDir == nil && s.Action != Mkdir && s.Action != Write || s.ToDir == nil && s.Action != Rmdir {
			return nil, fmt.Errorf("step %d, %s, has no folder", s.No, s.Action)
		}
		ref := prev.Ref
		prev = *s
		if s.Ref == 0 {
			prev.Ref = ref
		}
	}
	return steps, d.err
}

func encodeOutcomes(outs []Outcome) []byte {
	e := encoder{}
	e.uint(eventVersion)
	e.uint(uint64(len(outs)))
	var no int64
	for _, o := range outs {
		e.int(o.No - no)
		e.int(max(o.Count, 1))
		e.b = append(e.b, byte(o.State))
		e.string(o.Err)
		e.uint(o.Ino)
		e.int(o.Born)
		e.string(string(o.Hash))
		no = o.No
	}
	return e.b
}

func decodeOutcomes(b []byte) ([]Outcome, error) {
	d := decoder{b: b}
	if v := d.uint(); v != eventVersion {
		return nil, fmt.Errorf("outcomes of version %d, this forg knows %d", v, eventVersion)
	}
	outs := make([]Outcome, d.count(7))
	var no int64
	for i := range outs {
		o := &outs[i]
		o.No = no + d.int()
		o.Count = d.int()
		o.State = State(d.byte())
		o.Err, o.Ino, o.Born, o.Hash = d.string(), d.uint(), d.int(), []byte(d.string())
		no = o.No
	}
	return outs, d.err
}

// FolderTime is when a folder was last changed, once an operation was through with it.
type FolderTime struct {
	Path  string
	Mtime int64
}

func encodeFolderTimes(times []FolderTime) []byte {
	e := encoder{}
	e.uint(eventVersion)
	e.uint(uint64(len(times)))
	for _, t := range times {
		e.string(t.Path)
		e.int(t.Mtime)
	}
	return e.b
}

func decodeFolderTimes(b []byte) ([]FolderTime, error) {
	d := decoder{b: b}
	if v := d.uint(); v != eventVersion {
		return nil, fmt.Errorf("folder times of version %d, this forg knows %d", v, eventVersion)
	}
	times := make([]FolderTime, d.count(2))
	for i := range times {
		times[i] = FolderTime{d.string(), d.int()}
	}
	return times, d.err
}
