package cmd

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"forg/organizer"
)

// The page is one file that needs nothing else: no network, no other file. Its policy lets it load nothing and run nothing
// but its own script, known by its hash, so that not even a mistake in escaping could make code of a file's name.
var (
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string
)

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
	Thumbnail    string   // its URL; "" if there is none
	Facts        []string // size, resolution, date
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
	p := &pageData{Title: title, Policy: policy(pageCSS, pageJS), Made: r.start.Format("2006-01-02 15:04")}
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
	return p.write(w)
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
	return p.write(w)
}

// pageWriter writes HTML. Markup is ours and constant; all else is a text in it, of an element or of an attribute between double
// quotes, and escaped. (A template engine would do that too, at the price of what its finding methods by name costs the linker.)
type pageWriter struct{ *bufio.Writer }

// put writes markup with a %s for each text.
func (w pageWriter) put(markup string, texts ...string) {
	escaped := make([]any, len(texts))
	for i, t := range texts {
		escaped[i] = html.EscapeString(strings.ToValidUTF8(t, "\ufffd"))
	}
	fmt.Fprintf(w, markup, escaped...) // the writer keeps its error for Flush
}

// when writes markup under a condition.
func (w pageWriter) when(ok bool, markup string, texts ...string) {
	if ok {
		w.put(markup, texts...)
	}
}

func (p *pageData) write(to io.Writer) error {
	data, err := json.Marshal(p.Data) // which escapes what could end the element
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	w := pageWriter{bufio.NewWriter(to)}
	w.put(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="%s">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>%s</title>
<style>`, p.Policy, p.Title)
	w.WriteString(pageCSS)
	w.put(`</style>
</head>
<body>
<header>
<h1>%s</h1>
<p>%s</p>
<p class="quiet">`, p.Title, p.Summary)
	for i, root := range p.Roots {
		w.when(i > 0, ", ")
		w.put("<bdi>%s</bdi>", root)
	}
	w.put(" on %s</p>\n", p.Made)
	for _, note := range p.Notes {
		w.put("<p class=\"quiet\">%s</p>\n", note)
	}
	w.put("</header>\n<main>\n")
	for i := range p.Groups {
		p.Groups[i].write(w)
	}
	w.when(len(p.Groups) == 0, "<p class=\"empty\">Nothing was found.</p>\n")
	w.put(`</main>
<footer>
<p id="total" role="status" aria-live="polite">This page needs JavaScript to choose files; without it, it only shows them.</p>
<div class="buttons">
<button type="button" id="others" hidden>Select all but the best</button>
<button type="button" id="clear" hidden>Clear</button>
<button type="button" id="save" class="main" hidden disabled>Save selection</button>
</div>
<p id="next" class="quiet" hidden>Nothing is changed yet. To move what you have selected to the trash: ` +
		`<code>forg dupes --from selection.json --action trash</code></p>
</footer>
<script type="application/json" id="data">`)
	w.Write(data)
	w.put("</script>\n<script>")
	w.WriteString(pageJS)
	w.put("</script>\n</body>\n</html>\n")
	return w.Flush()
}

func (g *pageGroup) write(w pageWriter) {
	number := strconv.Itoa(g.Number)
	w.put(`<section aria-labelledby="g%s">
<div class="head"><h2 id="g%s"><span class="quiet">%s ·</span> %s</h2>`+
		`<button type="button" class="others" data-group="%s" hidden>All but the best<span class="aside"> of group %s</span></button></div>
<ul>
`, number, number, number, g.Title, number, number)
	for i := range g.Files {
		g.Files[i].write(w)
	}
	w.put("</ul>\n</section>\n")
}

func (f *pageFile) write(w pageWriter) {
	w.put("<li")
	w.when(f.Best, ` class="best"`)
	w.put(">\n<label for=\"%s\">", f.ID)
	if f.Thumbnail != "" {
		w.put(`<img src="%s" alt="Picture %s" loading="lazy" decoding="async">`, f.Thumbnail, f.Name)
	} else {
		w.put(`<span class="none" aria-hidden="true">no preview</span>`)
	}
	w.put("</label>\n<div class=\"choice\">")
	if f.CanGo {
		w.put(`<input type="checkbox" id="%s" data-group="%s" data-index="%s" data-bytes="%s"`, f.ID, strconv.Itoa(f.Group), strconv.Itoa(f.Index),
			strconv.FormatInt(f.Bytes, 10))
		w.when(f.Best, ` data-best="yes"`)
		w.put(` aria-describedby="d%s" disabled> `, f.ID)
	}
	w.put(`<label for="%s">`, f.ID)
	w.when(f.CanGo, `<span class="aside">Remove </span>`)
	w.put(`<bdi class="name">%s</bdi></label>`, f.Name)
	w.when(f.Best, ` <strong class="badge">best</strong>`)
	w.put("</div>\n<p class=\"facts\" id=\"d%s\"><bdi class=\"folder\">%s</bdi>", f.ID, f.Folder)
	for _, fact := range f.Facts {
		w.put("<span>%s</span>", fact)
	}
	for _, note := range f.Notes {
		w.put(`<span class="note">%s</span>`, note)
	}
	w.put("</p>\n</li>\n")
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
func thumbnails(ctx context.Context, t *organizer.Tree, files []organizer.Ref, bar *progress) (map[organizer.Ref]string, error) {
	var pictures []organizer.Ref
	for _, r := range files {
		switch strings.ToLower(filepath.Ext(t.Name(r))) {
		case ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff":
			if len(pictures) < pageThumbnails {
				pictures = append(pictures, r)
			}
		}
	}
	drawn := make([]string, len(pictures))
	finished := make(chan struct{}, len(pictures))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, r := range pictures {
		g.Go(func() error {
			if b, err := organizer.Thumbnail(ctx, t, r, thumbnailSide); err == nil {
				drawn[i] = "data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(b)
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
	out := map[organizer.Ref]string{}
	left := pageThumbBytes
	for i, r := range pictures {
		if left -= len(drawn[i]); left < 0 {
			break
		}
		out[r] = drawn[i]
	}
	return out, nil
}
