package organizer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gabriel-vasile/mimetype"

	"forg/organizer/metadata"
	"forg/rules"
)

// asked is a file or folder of the tree that rules ask about. It is opened when something is asked that only its content
// tells, and is to be closed.
type asked struct {
	ctx  context.Context
	p    *planner
	ref  Ref
	dir  string // with /
	name string

	handle *os.File
	file   *metadata.File
	failed error // why it cannot be opened
	mime   *mimetype.MIME
}

func (p *planner) ask(ctx context.Context, r Ref) *asked {
	return &asked{ctx: ctx, p: p, ref: r, dir: filepath.ToSlash(p.Tree.Dirs[p.Tree.DirOf(r)].Path), name: p.Tree.Name(r)}
}

func (a *asked) Dir() string  { return a.dir }
func (a *asked) Name() string { return a.name }

func (a *asked) path() string { return a.p.Tree.Path(a.ref) }

func (a *asked) close() {
	if a.handle != nil {
		a.handle.Close()
	}
}

// Fact implements rules.File.
func (a *asked) Fact(name string) (rules.Value, error) {
	f := a.p.Tree.File(a.ref)
	folder := isDir(f.Mode)
	switch name {
	case rules.FactDir:
		return folder, nil
	case rules.FactModified:
		return time.Unix(0, f.Mtime), nil
	case rules.FactCreated:
		if f.Born == 0 {
			return nil, nil
		}
		return time.Unix(0, f.Born), nil
	case rules.FactAccessed:
		m, err := lstat(a.path())
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", a.path(), cause(err))
		}
		return time.Unix(0, m.Atime), nil
	case rules.FactDateAdded:
		if runtime.GOOS == "darwin" {
			return nil, errors.New("forg cannot ask this system when a file was added to its folder")
		}
		return nil, nil // no other system records it
	case rules.FactEmpty:
		if !folder {
			return f.Size == 0, nil
		}
		names, err := listNames(a.path())
		if err != nil {
			return nil, fmt.Errorf("list folder %s: %w", a.path(), cause(err))
		}
		return len(names) == 0, nil
	}
	if folder {
		if name == rules.FactTags || name == rules.FactOrigin {
			return a.read(name)
		}
		return nil, nil // the rest is about content
	}
	switch name {
	case rules.FactSize:
		return f.Size, nil
	case rules.FactCategory:
		return a.p.kindOf(a.ref).Category, nil
	case rules.FactType:
		return a.p.kindOf(a.ref).Type, nil
	case rules.FactMIME, rules.FactContentMIME:
		m, err := a.sniff()
		if m == nil {
			return nil, err
		}
		mime, _, _ := strings.Cut(m.String(), ";")
		return mime, nil
	case rules.FactContentCategory, rules.FactContentType:
		k, err := a.byContent()
		if k == nil {
			return nil, err
		}
		if name == rules.FactContentCategory {
			return k.Category, nil
		}
		return k.Type, nil
	case rules.FactMismatch:
		return a.mismatch()
	case rules.FactTaken:
		if t, ok := a.p.takenIn(a.ref); ok {
			return t, nil
		}
		return nil, nil
	}
	if of, ok := a.p.duplicateOf[name]; ok {
		if original, ok := of[a.ref]; ok {
			return filepath.ToSlash(a.p.Tree.Path(original)), nil
		}
		return nil, nil
	}
	return a.read(name)
}

// read asks the content for what metadata knows.
func (a *asked) read(name string) (rules.Value, error) {
	if err := a.open(); err != nil {
		return nil, err
	}
	return a.file.Fact(a.ctx, name)
}

func (a *asked) open() error {
	if a.file != nil || a.failed != nil {
		return a.failed
	}
	f, err := openPath(a.path())
	if err != nil {
		a.failed = fmt.Errorf("open %s: %w", a.path(), cause(err))
		return a.failed
	}
	a.handle, a.file = f, a.p.opt.Metadata.File(f)
	return nil
}

// sniff is the type of the content, nil for an empty file.
func (a *asked) sniff() (*mimetype.MIME, error) {
	if a.mime != nil || a.p.Tree.File(a.ref).Size == 0 {
		return a.mime, nil
	}
	if err := a.open(); err != nil {
		return nil, err
	}
	var buf [sniffBytes]byte
	n, err := a.handle.ReadAt(buf[:], 0)
	if n == 0 && err != nil {
		return nil, fmt.Errorf("read %s: %w", a.path(), cause(err))
	}
	if mpegTransport(buf[:n]) {
		a.mime = mimetype.Lookup("video/mp2t")
	}
	if a.mime == nil {
		a.mime = mimetype.Detect(buf[:n])
	}
	return a.mime, nil
}

// byContent is the kind that the content alone tells, nil if it does not.
func (a *asked) byContent() (*rules.Kind, error) {
	m, err := a.sniff()
	for ; m != nil; m = m.Parent() {
		if k := a.p.set.ByMIME(m.String()); k != nil {
			return k, nil
		}
	}
	return nil, err
}

// mismatch reports whether the content is of another category than the name says, or the name hides a program.
func (a *asked) mismatch() (rules.Value, error) {
	_, ext := a.p.set.Split(a.name)
	named, sure := a.p.set.ByExtension(ext)
	if named != nil && named.Program && a.p.set.Disguised(a.name) {
		return true, nil
	}
	if named == nil || !sure {
		return false, nil
	}
	k, err := a.byContent()
	if err != nil {
		return nil, err
	}
	// Text is whatever its extension says: a script may be called .txt, and a table may begin like a page.
	return k != nil && k.Category != named.Category && (k.Program || !a.mime.Is("text/plain") && !isText(a.mime)), nil
}

func isText(m *mimetype.MIME) bool {
	for ; m != nil; m = m.Parent() {
		if m.Is("text/plain") {
			return true
		}
	}
	return false
}
