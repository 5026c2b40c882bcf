package organizer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gabriel-vasile/mimetype"
	"golang.org/x/sync/errgroup"

	"forg/organizer/metadata"
	"forg/rules"
)

// Detect is how the kind of a file is found out.
type Detect string

// The values of --detect.
const (
	DetectAuto      Detect = "auto"      // by extension where it is known and means one thing, else by content
	DetectContent   Detect = "content"   // by content, and by extension only where the content does not tell
	DetectExtension Detect = "extension" // by extension only: no file is opened
)

// sniffBytes is how much of a file tells its type: what mimetype reads by default.
const sniffBytes = 3072

// peekLimit bounds how many files of known extension DetectAuto looks into only to see that they are no programs. It
// costs some 5 microseconds a file, and a disk access where nothing is cached.
const peekLimit = 10_000

// look is a file whose content must be looked at to know its kind.
type look struct {
	r    Ref
	kind *rules.Kind // by extension, or nil
	peek bool        // only to see that it is no program
}

// categorize finds the kind of every file that is not left alone, and the dates if the plan needs them.
func (p *planner) categorize(ctx context.Context) error {
	p.kinds = make([][]uint16, len(p.Tree.chunks))
	perDir := make([][]look, len(p.Tree.Dirs))
	peeks, n := 0, int64(0)
	want := func(r Ref, k *rules.Kind, peek bool) {
		d := p.Tree.DirOf(r)
		perDir[d] = append(perDir[d], look{r, k, peek})
		n++
	}
	for c, ch := range p.Tree.chunks {
		p.kinds[c] = make([]uint16, len(ch.files))
		for i := range ch.files {
			f := &ch.files[i]
			if f.Left != NotLeft {
				continue
			}
			r := Ref{uint32(c), uint16(i)}
			name := p.Tree.Name(r)
			_, ext := p.set.Split(name)
			k, sure := p.set.ByExtension(ext)
			if k != nil {
				p.kinds[c][i] = uint16(k.Index)
				if k.Program && p.set.Disguised(name) {
					p.Mismatches = append(p.Mismatches, Mismatch{p.Tree.Path(r), p.disguise(name), k.Type})
				}
			}
			switch {
			case p.opt.Detect == DetectExtension || f.Size == 0:
			case p.opt.Detect == DetectContent || k == nil || !sure:
				want(r, k, false)
			case k.Lure:
				if peeks++; peeks <= peekLimit {
					want(r, k, true)
				} else {
					p.Unchecked++
				}
			}
		}
	}
	var mu sync.Mutex
	err := p.eachFile(ctx, perDir, n, func(h *scanHandle, l look, name []byte, buf []byte) {
		got, err := h.head(name, buf)
		if err != nil {
			return // it keeps the kind of its name; if it cannot be moved either, the move will say so
		}
		k, odd := p.byContent(l, buf[:got])
		if k != nil {
			p.kinds[l.r.chunk][l.r.i] = uint16(k.Index)
		}
		if odd {
			mu.Lock()
			p.Mismatches = append(p.Mismatches, Mismatch{p.Tree.Path(l.r), l.kind.Type, k.Type})
			mu.Unlock()
		}
	})
	if err != nil || !p.needDates() {
		return err
	}
	return p.date(ctx)
}

// disguise is the type that the visible part of a disguised name claims.
func (p *planner) disguise(name string) string {
	stem, _ := p.set.Split(name)
	_, ext := p.set.Split(strings.TrimRight(stem, " ._"))
	if k, _ := p.set.ByExtension(ext); k != nil {
		return k.Type
	}
	return "something else"
}

// byContent is the kind that a file's first bytes tell, nil if they do not, and whether that contradicts its name in a
// way that matters.
func (p *planner) byContent(l look, head []byte) (k *rules.Kind, odd bool) {
	if l.peek {
		if !maybeProgram(head) {
			return nil, false
		}
		if k := p.set.ByMIME(mimetype.Detect(head).String()); k != nil && k.Program {
			return k, true
		}
		return nil, false
	}
	if mpegTransport(head) {
		return p.set.ByMIME("video/mp2t"), false
	}
	m := mimetype.Detect(head)
	for up := m; up != nil && k == nil; up = up.Parent() { // docx is a zip, svg is xml, ...
		k = p.set.ByMIME(up.String())
	}
	if k == nil && l.kind == nil && strings.HasPrefix(m.String(), "text/plain") {
		k, _ = p.set.ByExtension("txt")
	}
	return k, k != nil && l.kind != nil && l.kind.Lure && k.Program
}

// mpegTransport reports whether head is that of an MPEG transport stream: packets of 188 bytes that begin with G.
func mpegTransport(head []byte) bool {
	return len(head) > 2*188 && head[0] == 'G' && head[188] == 'G' && head[2*188] == 'G'
}

// maybeProgram reports whether the first bytes are those of a program for Linux, Windows or macOS, or of a script.
func maybeProgram(head []byte) bool {
	for _, magic := range []string{"\x7fELF", "MZ", "\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe", "#!"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return false
}

// eachFile calls f for every file of perDir on a few goroutines, a folder at a time. f gets the open folder, the name
// ending in NUL and a buffer of sniffBytes.
func (p *planner) eachFile(ctx context.Context, perDir [][]look, total int64, f func(h *scanHandle, l look, name, buf []byte)) error {
	const share = 512 // files of a folder that one goroutine takes at once
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(scanWorkers)
	for d, looks := range perDir {
		if len(looks) == 0 {
			continue
		}
		h, err := openScan(p.Tree.Dirs[d].Path)
		if err != nil {
			continue // its files keep the kind of their names
		}
		for len(looks) > 0 {
			part := looks[:min(share, len(looks))]
			looks = looks[len(part):]
			h.retain()
			g.Go(func() error {
				defer h.close()
				buf := make([]byte, sniffBytes)
				for _, l := range part {
					if err := ctx.Err(); err != nil {
						return err
					}
					c := p.Tree.chunks[l.r.chunk]
					file := &c.files[l.r.i]
					f(h, l, c.names[file.name:file.name+uint32(file.len)+1], buf)
				}
				if n := done.Add(int64(len(part))); p.opt.Progress != nil {
					p.opt.Progress(n, total)
				}
				return nil
			})
		}
		h.close()
	}
	return g.Wait()
}

func (p *planner) needDates() bool {
	for _, k := range p.opt.By {
		if k == ByDate || k == ByMonth || k == ByYear {
			return true
		}
	}
	return false
}

// camera reports whether files of a kind come out of a camera and should know their date themselves. Their time of
// modification is usually that of a download or a copy.
func camera(k *rules.Kind) bool {
	return k.Category == "Videos" && k.Type != "Subtitles" || k.Category == "Images" && (k.Type == "Photos" || k.Type == "Raw photos")
}

// date finds the date of every file: for pictures and videos when they were taken, from their content, their sidecar
// or their name; for all others, and where nothing tells and the kind is not a camera's, when they were modified.
func (p *planner) date(ctx context.Context) error {
	perDir := make([][]look, len(p.Tree.Dirs))
	var n int64
	for r, f := range p.Tree.All() {
		if f.Left != NotLeft {
			continue
		}
		k := p.kindOf(r)
		if k.Category == "Images" || k.Category == "Videos" {
			perDir[p.Tree.DirOf(r)] = append(perDir[p.Tree.DirOf(r)], look{r: r, kind: k})
			n++
		} else {
			p.dates[r] = time.Unix(0, f.Mtime)
		}
	}
	var mu sync.Mutex
	return p.eachFile(ctx, perDir, n, func(h *scanHandle, l look, name, _ []byte) {
		t, ok := p.takenAt(h, l, string(name[:len(name)-1]))
		f := p.Tree.File(l.r)
		if !ok && (p.opt.Modified || !camera(l.kind)) {
			t, ok = time.Unix(0, f.Mtime), true
		}
		if ok {
			mu.Lock()
			p.dates[l.r] = t
			mu.Unlock()
		}
	})
}

func (p *planner) takenAt(h *scanHandle, l look, name string) (time.Time, bool) {
	stem, ext := p.set.Split(name)
	if f, err := h.open(name); err == nil {
		t, ok := metadata.Taken(f, p.Tree.File(l.r).Size, ext)
		f.Close()
		// A film often knows only the UTC time, its name the wall clock's: near midnight those are two dates.
		if named, has := metadata.TakenFromName(name); ok && has && l.kind.Category == "Videos" && t.Sub(named).Abs() <= 14*time.Hour {
			return named, true
		}
		if ok {
			return t, true
		}
	}
	for _, sidecar := range []string{name + ".xmp", stem + ".xmp", name + ".XMP", stem + ".XMP"} {
		f, err := h.open(sidecar)
		if err != nil {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(f, 1<<20))
		f.Close()
		if err != nil {
			continue
		}
		if t, ok := metadata.TakenFromXMP(data); ok {
			return t, true
		}
	}
	return metadata.TakenFromName(name)
}

// takenIn is when a photo or video of the tree was taken.
func (p *planner) takenIn(r Ref) (time.Time, bool) {
	k := p.kindOf(r)
	if k.Category != "Images" && k.Category != "Videos" {
		return time.Time{}, false
	}
	h, err := openScan(p.Tree.Dirs[p.Tree.DirOf(r)].Path)
	if err != nil {
		return time.Time{}, false
	}
	defer h.close()
	return p.takenAt(h, look{r: r, kind: k}, p.Tree.Name(r))
}

// membership is what a file of a bundle needs to know of it.
type membership struct {
	lead Ref
	unit uint32
	left Reason
}

// bundles finds what belongs together in folder d: it goes where the first file of the bundle goes, or stays if one of
// it stays. Folders that belong to a page move with it, and what lies in them is left to them.
func (p *planner) bundles(d uint32) map[Ref]membership {
	dir := &p.Tree.Dirs[d]
	if p.inBundle[filepath.Dir(dir.Path)] {
		p.inBundle[dir.Path] = true
	}
	if p.inBundle[dir.Path] {
		for r, f := range p.Tree.InDir(d) {
			if f.Left == NotLeft {
				p.leave(r, LeftFolderBundle)
			}
		}
		return nil
	}
	var names []string
	var refs []Ref
	for r := range p.Tree.InDir(d) {
		names = append(names, p.Tree.Name(r))
		refs = append(refs, r)
	}
	p.leaveHalves(refs, names)
	var out map[Ref]membership
	for _, b := range p.set.Bundles(names, dir.Folders) {
		if out == nil {
			out = map[Ref]membership{}
		}
		p.unit++
		m := membership{lead: refs[b.Files[0]], unit: p.unit}
		for _, i := range b.Files {
			if left := p.Tree.File(refs[i]).Left; left != NotLeft {
				m.left = left
			}
		}
		for _, i := range b.Folders {
			path := filepath.Join(dir.Path, dir.Folders[i])
			p.inBundle[path] = true
			st, err := lstat(path)
			if m.left != NotLeft || err != nil {
				continue
			}
			if p.opt.Copy {
				m.left = LeftFolderBundle // folders are not copied, and without its folder a page is broken
				continue
			}
			own := Dir{Path: dir.Path, ID: dir.ID, Dev: dir.Dev, Into: dir.Into, IsRoot: dir.IsRoot}
			p.pages = append(p.pages, page{p.Tree.addIn(own, dir.Folders[i], st), m.lead, m.unit})
		}
		for _, i := range b.Files {
			out[refs[i]] = m
		}
	}
	return out
}

// leaveHalves leaves files alone whose download goes on in another file beside them: film.mkv and film.mkv.part.
func (p *planner) leaveHalves(refs []Ref, names []string) {
	var halves map[string]bool
	for i, r := range refs {
		if p.Tree.File(r).Left == LeftPartial {
			if of, ok := p.set.PartialOf(names[i]); ok {
				if halves == nil {
					halves = map[string]bool{}
				}
				halves[of] = true
			}
		}
	}
	for i, r := range refs {
		if halves[names[i]] && p.Tree.File(r).Left == NotLeft {
			p.leave(r, LeftPartial)
		}
	}
}

// page is a folder that moves with a file.
type page struct {
	folder, lead Ref
	unit         uint32
}

func (m Mismatch) String() string {
	return fmt.Sprintf("%s says it is %s but is %s", m.Path, m.Says, m.Is)
}
