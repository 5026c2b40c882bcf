package organizer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/zeebo/blake3"

	"forg/journal"
	"forg/organizer/archive"
)

// maxDepth is how deep folders of an archive may lie in each other: more is made to wear out whoever walks them.
const maxDepth = 128

// topSuffix ends the hidden name of an archive's only folder while it takes the place of the hidden one around it.
const topSuffix = "-top"

// extract makes the folder of an Extract step under a hidden name, makes it durable, records which folder it is, and gives
// it its name. What is in it is made through open folders that this run has made, so that no link of the archive leads
// anywhere. Entries that cannot be are left out and reported; then whatever the unit was to do next is not done, so that
// the archive stays.
func (r *runner) extract(ctx context.Context, s *journal.Step, from *folder) (err error) {
	src, err := from.open(s.From)
	if err != nil {
		return cause(err)
	}
	defer src.Close()
	was, err := statFile(src)
	if err != nil {
		return err
	}
	if err := checkSource(s, was); err != nil {
		return err
	}
	to, err := r.dir(s.ToDir)
	if err != nil {
		return err
	}
	if _, err := to.stat(s.To); err == nil {
		return errExists
	}
	r.changed(s)
	temp := tempName(r.res.UUID, s.No)
	if err := to.mkdir(temp, 0o700); err != nil {
		return fmt.Errorf("make folder %s: %v", temp, cause(err)) // which is not the name that counts if it is taken
	}
	defer func() {
		if err == nil {
			return
		}
		if e := removeHidden(to, temp); e != nil {
			err = errors.Join(err, e)
		}
	}()
	x := &extraction{ctx: ctx, top: &extracted{}, files: map[string]spot{}}
	made, digest, err := x.run(to, temp, s.To, src, was.Size, s.From, r.opt.Archives)
	if err != nil {
		return err
	}
	placed := journal.Outcome{No: s.No, Count: 1, State: journal.Copied, Ino: made.Ino, Born: made.Born, Hash: digest}
	if err := r.w.Commit(context.WithoutCancel(ctx), nil, []journal.Outcome{placed}); err != nil {
		r.fatal = err
		return err
	}
	if err := renameNoReplace(to, temp, to, s.To); err != nil {
		return err
	}
	placed.State = journal.Done
	r.outs = append(r.outs, placed)
	for _, name := range x.renamed {
		r.res.Notes = append(r.res.Notes, Problem{s.ToPath(), fmt.Errorf("extract %s: %w", s.FromPath(), name)})
	}
	for _, e := range x.skipped {
		r.res.Problems = append(r.res.Problems, Problem{s.FromPath(), fmt.Errorf("extract %s: %w", s.FromPath(), e)})
	}
	if len(x.skipped) > 0 && s.Unit != 0 {
		r.dropped[s.Unit] = true
	}
	return nil
}

// removeHidden removes what a step has made under its hidden names.
func removeHidden(dir *folder, temp string) error {
	for _, name := range []string{temp, temp + topSuffix} {
		if err := removeTree(dir, name, 0); err != nil {
			return fmt.Errorf("remove the unfinished %s: %w", name, err)
		}
	}
	return nil
}

// removeTree removes one of forg's own hidden folders, entry by entry and through open folders. It is called for no
// other.
func removeTree(dir *folder, name string, depth int) error {
	m, err := dir.stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !isDir(m.Mode) {
		return dir.unlink(name)
	}
	if depth > 2*maxDepth {
		return errors.New("it is deeper than anything that forg makes")
	}
	sub, err := dir.sub(name)
	if err != nil {
		return err
	}
	names, err := sub.names()
	for _, n := range names {
		if err == nil {
			err = removeTree(sub, n, depth+1)
		}
	}
	sub.close()
	if err != nil {
		return err
	}
	return dir.rmdir(name)
}

// extraction is one archive on its way to become a folder.
type extraction struct {
	ctx     context.Context
	root    *folder // the hidden folder
	top     *extracted
	files   map[string]spot // by cleaned name, for hard links
	links   []extractedLink // made at the end, so that nothing is written through them
	made    int             // entries
	atTop   int             // of them directly in the folder, but for folders
	skipped []error
	renamed []error

	last *extracted // the folder that was used last, and is open
	open *folder
}

// extracted is a folder that an extraction has made.
type extracted struct {
	up    *extracted // nil of the top
	name  string     // on the disk
	depth int
	kids  map[string]*extracted // by their names in the archive
	next  map[string]int        // number to try next for a name that is taken
	mode  uint32                // as the archive has it, 0 if it has none
	mtime time.Time
}

type spot struct {
	dir  *extracted
	name string
}

type extractedLink struct {
	dir                 *extracted
	entry, name, target string
}

// fewReports bounds how many entries of one archive are reported one by one.
const fewReports = 20

func report(list *[]error, err error) {
	switch {
	case len(*list) < fewReports:
		*list = append(*list, err)
	case len(*list) == fewReports:
		*list = append(*list, errors.New("and more entries"))
	}
}

func (x *extraction) skip(entry string, err error) {
	report(&x.skipped, fmt.Errorf("entry %q was left out: %w", entry, cause(err)))
}

// run fills the hidden folder temp of dir and returns which folder it is and its digest. name is the name that it is to get.
func (x *extraction) run(dir *folder, temp, name string, src *os.File, size int64, archiveName string, limits archive.Limits) (made meta, digest []byte, err error) {
	if x.root, err = dir.sub(temp); err != nil {
		return meta{}, nil, err
	}
	defer func() { x.close() }()
	if err := archive.Walk(x.ctx, src, size, archiveName, limits, x.entry); err != nil {
		return meta{}, nil, err
	}
	if err := x.collapse(dir, temp, name); err != nil {
		return meta{}, nil, err
	}
	if err := x.makeLinks(); err != nil {
		return meta{}, nil, err
	}
	if x.made == 0 {
		return meta{}, nil, errors.Join(append([]error{errors.New("there is nothing in it to extract")}, x.skipped...)...)
	}
	if err := x.seal(x.top); err != nil {
		return meta{}, nil, err
	}
	if err := x.root.syncAll(); err != nil {
		return meta{}, nil, fmt.Errorf("sync: %w", err)
	}
	if digest, err = treeDigest(x.ctx, x.root); err != nil {
		return meta{}, nil, err
	}
	made, err = x.root.self()
	return made, digest, err
}

func (x *extraction) close() {
	x.leave()
	if x.root != nil {
		x.root.close()
		x.root = nil
	}
}

func (x *extraction) leave() {
	if x.open != nil {
		x.open.close()
	}
	x.open, x.last = nil, nil
}

// entry makes one entry of the archive.
func (x *extraction) entry(e archive.Entry, content io.Reader) error {
	rel, err := archive.Clean(e.Name)
	if err != nil {
		if e.IsDir && strings.Trim(e.Name, `./\`) == "" { // the folder itself, which tar lists
			return nil
		}
		x.skip(e.Name, err)
		return nil
	}
	switch {
	case strings.Count(rel, "/") >= maxDepth:
		x.skip(e.Name, fmt.Errorf("it lies deeper than %d folders", maxDepth))
	case e.IsDir:
		var d *extracted
		if d, err = x.folder(rel); err == nil && d != nil {
			d.mode, d.mtime = uint32(e.Mode.Perm()), e.ModTime
		}
	case e.IsLink, e.IsHardLink, e.IsRegular():
		var d *extracted
		if d, err = x.folder(path.Dir(rel)); err != nil {
			break
		}
		switch {
		case e.IsLink:
			if d.up == nil {
				x.atTop++
			}
			x.links = append(x.links, extractedLink{d, e.Name, path.Base(rel), e.Link})
		case e.IsHardLink:
			err = x.hardLink(d, rel, e)
		default:
			err = x.file(d, rel, e, content)
		}
	default:
		x.skip(e.Name, errors.New("it is neither a file nor a folder"))
	}
	if errors.Is(err, errNameRefused) {
		x.skip(e.Name, err)
		return nil
	}
	return err
}

// errNameRefused says that nothing can have such a name here, while nothing else is wrong.
var errNameRefused = errors.New("its name is not possible here")

func nameRefused(err error) error {
	for _, refused := range []error{syscall.EINVAL, syscall.EILSEQ, syscall.ENAMETOOLONG, errBadName} {
		if errors.Is(err, refused) {
			return fmt.Errorf("%w: %w", errNameRefused, err)
		}
	}
	return err
}

// folder returns the folder at rel, "." for the top, and makes what is missing of it. It enters none that it has not made.
func (x *extraction) folder(rel string) (*extracted, error) {
	d := x.top
	if rel == "." {
		return d, nil
	}
	for part := range strings.SplitSeq(rel, "/") {
		if kid := d.kids[part]; kid != nil {
			d = kid
			continue
		}
		kid := &extracted{up: d, depth: d.depth + 1}
		var err error
		kid.name, err = x.free(d, part, func(dir *folder, name string) error { return dir.mkdir(name, 0o777) })
		if err != nil {
			return nil, err
		}
		if d.kids == nil {
			d.kids = map[string]*extracted{}
		}
		d.kids[part] = kid
		x.made++
		d = kid
	}
	return d, nil
}

// free calls try with names for part until one is not taken, by an entry of that name or, where case does not count, of
// one like it.
func (x *extraction) free(d *extracted, part string, try func(dir *folder, name string) error) (string, error) {
	dir, err := x.enter(d)
	if err != nil {
		return "", err
	}
	name := part
	for n := max(d.next[part], 1); ; n++ {
		if n > 1 || len(part) > maxName {
			stem, ext := splitName(part)
			if name = fitName(stem, "", ext, maxName); n > 1 {
				name = numberedName(stem, ext, n)
			}
		}
		err := try(dir, name)
		if !errors.Is(err, errExists) {
			if err == nil && name != part {
				report(&x.renamed, fmt.Errorf("entry %q is called %q, since its name was taken or too long", part, name))
			}
			if n > 1 {
				if d.next == nil {
					d.next = map[string]int{}
				}
				d.next[part] = n + 1
			}
			return name, nameRefused(err)
		}
	}
}

// enter opens a folder that this extraction has made.
func (x *extraction) enter(d *extracted) (*folder, error) {
	if d.up == nil {
		return x.root, nil
	}
	if x.last == d {
		return x.open, nil
	}
	dir, err := x.walk(d)
	if err != nil {
		return nil, err
	}
	x.leave()
	x.last, x.open = d, dir
	return dir, nil
}

// walk opens a folder on the way from the top.
func (x *extraction) walk(d *extracted) (*folder, error) {
	var way []string
	for at := d; at.up != nil; at = at.up {
		way = append(way, at.name)
	}
	dir := x.root
	for _, name := range slices.Backward(way) {
		next, err := dir.sub(name)
		if dir != x.root {
			dir.close()
		}
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

func (x *extraction) file(d *extracted, rel string, e archive.Entry, content io.Reader) error {
	var f *os.File
	perm := uint32(e.Mode.Perm())
	if perm == 0 {
		perm = 0o666
	}
	name, err := x.free(d, path.Base(rel), func(dir *folder, name string) (err error) {
		f, err = dir.createAs(name, perm)
		return err
	})
	if err != nil {
		return err
	}
	buf := copyBuffers.Get().(*[1 << 20]byte)
	defer copyBuffers.Put(buf)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, content, buf[:])
	if t, ok := unixTime(e.ModTime); ok && err == nil {
		if err = setTimes(f, t, t); cannotKeep(err) {
			err = nil
		}
	}
	if err == nil {
		err = syncContent(f)
	}
	if err = cause(cmp.Or(err, f.Close())); err != nil {
		return fmt.Errorf("entry %q: %w", e.Name, err)
	}
	x.added(d)
	x.files[rel] = spot{d, name}
	return nil
}

func (x *extraction) added(d *extracted) {
	x.made++
	if d.up == nil {
		x.atTop++
	}
}

// unixTime is a time in ns since 1970, if there is one and it can be.
func unixTime(t time.Time) (int64, bool) {
	return t.UnixNano(), !t.IsZero() && 1900 < t.Year() && t.Year() < 2250
}

// hardLink gives a file that came earlier in the archive a second name or, where there are no hard links, a copy.
func (x *extraction) hardLink(d *extracted, rel string, e archive.Entry) error {
	target, err := archive.Clean(e.Link)
	at, ok := x.files[target]
	if err != nil || !ok {
		x.skip(e.Name, fmt.Errorf("it is a hard link of %q, which is no file of the archive before it", e.Link))
		return nil
	}
	from, err := x.walk(at.dir)
	if err != nil {
		return err
	}
	if at.dir.up != nil {
		defer from.close()
	}
	name, err := x.free(d, path.Base(rel), func(dir *folder, name string) error { return link(from, at.name, dir, name) })
	if cannotKeep(err) || errors.Is(err, syscall.EMLINK) {
		var src *os.File
		if src, err = from.open(at.name); err != nil {
			return cause(err)
		}
		defer src.Close()
		e.IsHardLink = false
		if m, err := statFile(src); err == nil {
			e.Mode, e.ModTime = fs.FileMode(m.Mode)&fs.ModePerm, time.Unix(0, m.Mtime)
		}
		return x.file(d, rel, e, src)
	}
	if err != nil {
		return err
	}
	x.added(d)
	x.files[rel] = spot{d, name}
	return nil
}

// collapse makes the only folder of the archive the folder itself, if it is called like it.
func (x *extraction) collapse(dir *folder, temp, name string) error {
	only := x.top.kids[name]
	if only == nil || len(x.top.kids) != 1 || x.atTop > 0 || only.name != name {
		return nil
	}
	x.leave()
	err := renameNoReplace(x.root, name, dir, temp+topSuffix)
	x.close()
	if err == nil {
		err = dir.rmdir(temp)
	}
	if err == nil {
		err = renameNoReplace(dir, temp+topSuffix, dir, temp)
	}
	if err == nil {
		x.root, err = dir.sub(temp)
	}
	if err != nil {
		return err
	}
	only.up = nil
	x.top = only
	return nil
}

// makeLinks makes the symbolic links of the archive that stay inside.
func (x *extraction) makeLinks() error {
	for _, l := range x.links {
		if err := staysInside(l.target, l.dir.depth-x.top.depth); err != nil {
			x.skip(l.entry, err)
			continue
		}
		_, err := x.free(l.dir, l.name, func(dir *folder, name string) error { return makeSymlink(l.target, dir, name) })
		switch {
		case errors.Is(err, errNameRefused), cannotKeep(err), errors.Is(err, errors.ErrUnsupported):
			x.skip(l.entry, err)
		case err != nil:
			return fmt.Errorf("entry %q: %w", l.entry, err)
		default:
			x.made++
		}
	}
	return nil
}

// staysInside refuses the text of a link, so many folders below the top, that could lead outside. It may go up first and
// down then. Up again after that it may not: what it goes down through may be a link as well.
func staysInside(target string, depth int) error {
	outside := fmt.Errorf("it is a symbolic link to %q, which may lead outside", target)
	if target == "" || strings.HasPrefix(target, "/") || strings.ContainsAny(target, "\x00") {
		return outside
	}
	down := false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part != "..":
			down = true
		case down || depth == 0:
			return outside
		default:
			depth--
		}
	}
	return nil
}

// seal gives folders their modes, less what the umask takes, and times, when nothing comes into them any more, and hands their names to the disk.
func (x *extraction) seal(d *extracted) error {
	for _, name := range slices.Sorted(maps.Keys(d.kids)) {
		if err := x.seal(d.kids[name]); err != nil {
			return err
		}
	}
	dir, err := x.enter(d)
	if err != nil {
		return err
	}
	if d.mode != 0 {
		m, err := dir.self() // made with all that the umask leaves
		if err != nil {
			return err
		}
		if perm := m.Mode & 0o7777 &^ (0o777 &^ (d.mode | 0o700)); perm != m.Mode&0o7777 {
			if err := dir.chmod(perm); err != nil && !cannotKeep(err) {
				return err
			}
		}
	}
	if t, ok := unixTime(d.mtime); ok {
		if err := dir.touch(t, t); err != nil && !cannotKeep(err) {
			return err
		}
	}
	if syncsVolumes {
		return nil
	}
	return dir.sync()
}

// treeDigest is what a folder's content is known by: BLAKE3 over the names, kinds, modes, sizes and times of all that is in
// it, and the texts of its links. Its own name and time are not in it, nor is any content: a file that was edited has
// another time.
func treeDigest(ctx context.Context, dir *folder) ([]byte, error) {
	h := blake3.New()
	if err := digestInto(ctx, h, dir, 0); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

func digestInto(ctx context.Context, h io.Writer, dir *folder, depth int) error {
	if depth > 2*maxDepth {
		return errors.New("its folders lie too deep in each other")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := dir.names()
	if err != nil {
		return fmt.Errorf("list %s: %w", dir.path, cause(err))
	}
	slices.Sort(names)
	var b []byte
	for _, name := range names {
		m, err := dir.stat(name)
		if err != nil {
			return err
		}
		size, text := m.Size, ""
		switch {
		case isDir(m.Mode):
			size = 0 // what a folder takes on the disk is the file system's business
		case m.Mode&modeType == modeLink:
			if text, err = dir.readlink(name); err != nil {
				return err
			}
		}
		b = appendString(b[:0], name)
		b = binary.AppendUvarint(b, uint64(m.Mode))
		b = binary.AppendVarint(b, size)
		b = binary.AppendVarint(b, m.Mtime)
		b = appendString(b, text)
		if _, err := h.Write(b); err != nil {
			return err
		}
		if isDir(m.Mode) {
			sub, err := dir.sub(name)
			if err != nil {
				return err
			}
			err = digestInto(ctx, h, sub, depth+1)
			sub.close()
			if err != nil {
				return err
			}
			if _, err := h.Write([]byte{0}); err != nil { // the end of its names, none of which is empty
				return err
			}
		}
	}
	return nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// checkExtracted makes sure that a folder is still what an Extract made.
func checkExtracted(s *journal.Step, from *folder, now meta) error {
	if !isDir(now.Mode) || !now.SameFile(s.File) {
		return errReplaced
	}
	dir, err := from.sub(s.From)
	if err != nil {
		return err
	}
	defer dir.close()
	digest, err := treeDigest(context.Background(), dir)
	if err != nil {
		return err
	}
	if !bytes.Equal(digest, s.Meta) {
		return fmt.Errorf("%w: something in it was changed since, so it stays", errKept)
	}
	return nil
}

// decideExtract settles an Extract. What is hidden goes, unless it is complete and the archive is gone: then it is the last
// of it and gets its name.
func (s *settler) decideExtract(step *journal.StepResult) journal.Outcome {
	temp := tempName(s.uuid, step.No)
	made := journal.Identity{Ino: step.Ino, Born: step.Born}
	complete := step.State == journal.Copied
	_, _, archived, err1 := s.at(step.FromDir, step.From)
	to, dst, hasDst, err2 := s.at(step.ToDir, step.To)
	_, tmp, hasTemp, err3 := s.at(step.ToDir, temp)
	_, _, hasTop, err4 := s.at(step.ToDir, temp+topSuffix)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return outcome(journal.Lost, "cannot tell: %v", err)
	}
	if complete && hasDst && dst.SameFile(made) {
		return outcome(journal.Done, "")
	}
	if !hasTemp && !hasTop {
		if complete {
			return outcome(journal.Lost, "what was extracted is gone: somebody else moved or removed it")
		}
		return outcome(journal.NotDone, "")
	}
	s.touch(step.ToDir)
	switch {
	case archived:
		if err := removeHidden(to, temp); err != nil {
			return outcome(journal.Lost, "%v", err)
		}
		return outcome(journal.NotDone, "")
	case complete && hasTemp && tmp.SameFile(made):
		if err := renameNoReplace(to, temp, to, step.To); err != nil {
			return outcome(journal.Lost, "the archive is gone; what was in it is %s/%s: %v", to.path, temp, err)
		}
		return outcome(journal.Done, "")
	}
	return outcome(journal.Lost, "the archive is gone; what was extracted of it is %s/%s", to.path, temp)
}
