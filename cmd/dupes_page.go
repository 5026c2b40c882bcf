package cmd

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"forg/organizer"
)

// The page is one file that needs nothing else: no network, no other file. Its policy lets it load nothing and run nothing
// but its own script, known by its hash, so that not even a mistake in escaping could make code of a file's name.
var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
)

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

const (
	pageGroups     = 2000     // on one page; who has more makes another when these are dealt with
	pageThumbnails = 3000     // on one page
	pageThumbBytes = 24 << 20 // of all thumbnails together
	thumbnailSide  = 240      // pixels
)

// pageData is what the page shows.
type pageData struct {
	Title   string
	Policy  string
	CSS     template.CSS
	JS      template.JS
	Similar bool
	Made    string
	Roots   []string
	Summary string
	Notes   []string
	Groups  []pageGroup
	Data    pageSelection // what is saved
}

// pageSelection is the report that is saved, before any choice.
type pageSelection struct {
	Similar bool  `json:"similar"`
	Groups  []any `json:"groups"`
}

type pageGroup struct {
	Number int
	Title  string
	Files  []pageFile
}

type pageFile struct {
	Group, Index int
	ID           string
	Name, Folder string
	Thumbnail    template.URL // "" if there is none
	Facts        []string     // size, resolution, date
	Notes        []string
	Best         bool
	CanGo        bool
	Bytes        int64 // that going gives
}

// policy is the content security policy of a page with this style and script.
func policy(css, js string) string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; img-src data:; style-src " + hash(css) + "; script-src " + hash(js) + "; base-uri 'none'; form-action 'none'"
}

func (r *dupesReport) newPage(title string) *pageData {
	p := &pageData{Title: title, Policy: policy(pageCSS, pageJS), CSS: template.CSS(pageCSS), JS: template.JS(pageJS), Made: r.start.Format("2006-01-02 15:04")}
	for _, root := range r.found.Tree.Roots {
		p.Roots = append(p.Roots, r.tilde(root))
	}
	return p
}

// file is what a page shows of any file.
func (r *dupesReport) pageFile(group, index int, ref organizer.Ref) pageFile {
	t := r.found.Tree
	f := t.File(ref)
	return pageFile{Group: group, Index: index, ID: fmt.Sprintf("f%d-%d", group, index), Name: show(t.Name(ref)),
		Folder: r.tilde(t.Dirs[t.DirOf(ref)].Path), Facts: []string{bytesText(f.Size), time.Unix(0, f.Mtime).Format("2006-01-02 15:04")}, Bytes: f.Size}
}

// page writes the page of equal files.
func (r *dupesReport) page(ctx context.Context, w io.Writer, bar *progress) error {
	d := r.found
	p := r.newPage("Equal files")
	p.Summary = fmt.Sprintf("%s of %s, in %s %s, are superfluous: %s.", filesText(d.Files), humanize.Comma(d.Tree.Files), humanize.Comma(int64(len(d.Groups))),
		plural(len(d.Groups), "group"), bytesText(d.Wasted))
	var refs []organizer.Ref
	for i := range d.Groups[:min(len(d.Groups), pageGroups)] {
		g := &d.Groups[i]
		out := pageGroup{Number: i + 1, Title: fmt.Sprintf("%d equal files of %s", len(g.Files), bytesText(g.Size))}
		for k, c := range g.Files {
			f := r.pageFile(i, k, c.File)
			f.Best, f.CanGo = k == 0, c.Role == organizer.Superfluous || k == 0
			if k == 0 {
				f.Notes = append(f.Notes, "stays by default: "+g.Why)
			} else if int(c.Same) != k {
				f.Notes = append(f.Notes, "another name of "+r.tilde(d.Tree.Path(g.Files[c.Same].File)))
				f.Bytes = 0
			}
			if !f.CanGo {
				f.Notes = append(f.Notes, "stays: "+roleText(c.Role))
			}
			out.Files = append(out.Files, f)
			if k == 0 {
				refs = append(refs, c.File)
			}
		}
		p.Groups = append(p.Groups, out)
		p.Data.Groups = append(p.Data.Groups, r.jsonGroup(g))
	}
	thumbs, err := thumbnails(ctx, d.Tree, refs, bar)
	if err != nil {
		return err
	}
	for i := range p.Groups {
		for k := range p.Groups[i].Files {
			p.Groups[i].Files[k].Thumbnail = thumbs[refs[i]]
		}
	}
	p.cut(len(d.Groups))
	return pageTemplate.Execute(w, p)
}

// page writes the page of pictures that look alike.
func (r *similarReport) page(ctx context.Context, w io.Writer, bar *progress) error {
	s := r.similar
	p := r.newPage("Pictures that look alike")
	p.Similar, p.Data.Similar = true, true
	p.Summary = fmt.Sprintf("%s of %s pictures look like a better one, in %s %s: %s.", humanize.Comma(r.files()), humanize.Comma(s.Pictures),
		humanize.Comma(int64(len(s.Groups))), plural(len(s.Groups), "group"), bytesText(s.Bytes))
	if s.Plain > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("Too little to see for a comparison: %s.", filesText(s.Plain)))
	}
	if s.Unsupported > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("Not compared: %s of formats that forg cannot decode.", filesText(s.Unsupported)))
	}
	var refs []organizer.Ref
	for i := range s.Groups[:min(len(s.Groups), pageGroups)] {
		g := &s.Groups[i]
		out := pageGroup{Number: i + 1, Title: fmt.Sprintf("%d pictures, %s without the best", len(g.Files), bytesText(g.Bytes))}
		for k := range g.Files {
			m := &g.Files[k]
			f := r.pageFile(i, k, m.File)
			f.Best, f.CanGo, f.Bytes = k == 0, m.Role == organizer.Kept, s.BytesOf(m)
			f.Facts = append([]string{fmt.Sprintf("%d × %d %s", m.Width, m.Height, m.Format)}, f.Facts...)
			if k > 0 {
				f.Facts = append(f.Facts, fmt.Sprintf("distance %d", m.Distance))
			}
			f.Notes = r.notes(g, k)
			out.Files = append(out.Files, f)
			refs = append(refs, m.File)
		}
		p.Groups = append(p.Groups, out)
		p.Data.Groups = append(p.Data.Groups, s.Selection(i))
	}
	thumbs, err := thumbnails(ctx, s.Tree, refs, bar)
	if err != nil {
		return err
	}
	at := 0
	for i := range p.Groups {
		for k := range p.Groups[i].Files {
			p.Groups[i].Files[k].Thumbnail = thumbs[refs[at]]
			at++
		}
	}
	p.cut(len(s.Groups))
	return pageTemplate.Execute(w, p)
}

func (p *pageData) cut(all int) {
	if n := all - len(p.Groups); n > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%s more groups are not on this page: make another when these are dealt with.", humanize.Comma(int64(n))))
	}
	if p.Data.Groups == nil {
		p.Data.Groups = []any{}
	}
}

// thumbnails draws the pictures among files, as many as a page may hold. What is no picture, or a damaged one, has none.
func thumbnails(ctx context.Context, t *organizer.Tree, files []organizer.Ref, bar *progress) (map[organizer.Ref]template.URL, error) {
	var pictures []organizer.Ref
	for _, r := range files {
		switch strings.ToLower(filepath.Ext(t.Name(r))) {
		case ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff":
			if len(pictures) < pageThumbnails {
				pictures = append(pictures, r)
			}
		}
	}
	drawn := make([]template.URL, len(pictures))
	finished := make(chan struct{}, len(pictures))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, r := range pictures {
		g.Go(func() error {
			if b, err := organizer.Thumbnail(ctx, t, r, thumbnailSide); err == nil {
				drawn[i] = template.URL("data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(b))
			}
			finished <- struct{}{}
			bar.thumbnails(int64(len(finished)), int64(len(pictures)))
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	bar.done()
	out := map[organizer.Ref]template.URL{}
	left := pageThumbBytes
	for i, r := range pictures {
		if left -= len(drawn[i]); left < 0 {
			break
		}
		out[r] = drawn[i]
	}
	return out, nil
}
