package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"golang.org/x/image/draw"

	"forg/organizer"
)

var screenshots = flag.String("screenshots", "", "write what the pages look like into this `folder`")

// forgIn runs forg in a home of its own, and returns what it printed.
func forgIn(t *testing.T, home string, code int, args ...string) (string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &errs, getenv: func(name string) string {
		return map[string]string{"HOME": home, "TZ": "UTC"}[name]
	}, now: time.Now}
	if got := a.main(args); got != code {
		t.Fatalf("forg %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, &out, &errs)
	}
	return out.String(), errs.String()
}

// photo is a picture of coloured shapes, each seed another.
func photo(seed uint64, w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	s := seed*0x9e3779b97f4a7c15 + 99
	next := func(n int) int {
		s ^= s << 13
		s ^= s >> 7
		s ^= s << 17
		return int(s % uint64(n))
	}
	for y := range h {
		for x := range w {
			m.SetRGBA(x, y, color.RGBA{uint8(x * 200 / w), uint8(90 + y*100/h), uint8(40 * (seed % 5)), 255})
		}
	}
	for range 40 {
		c := image.NewUniform(color.RGBA{uint8(next(256)), uint8(next(256)), uint8(next(256)), 255})
		x, y := next(w), next(h)
		draw.Draw(m, image.Rect(x, y, x+next(w/4)+4, y+next(h/4)+4), c, image.Point{}, draw.Src)
	}
	return m
}

func writePicture(t *testing.T, path string, m image.Image) {
	t.Helper()
	var b bytes.Buffer
	var err error
	if strings.HasSuffix(path, ".png") {
		err = png.Encode(&b, m)
	} else {
		err = jpeg.Encode(&b, m, &jpeg.Options{Quality: 80})
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, b.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// hostileNames are names that would do harm if they became markup or script.
var hostileNames = []string{`<img src=x onerror=alert(1)>.png`, `"><script>alert(1)<`, `' onmouseover='alert(1).png`, "</script><script>alert(1)", `</title>&lt;&amp;.png`,
	"javascript:alert(1).png", "line\nbreak\u202egnp.png", "]]>{{.JS}}${alert(1)}`.png", "\xff\xfe bytes.png", `\u003cb\u003e.png`}

// album lays a folder of pictures: three that are one, two more that are one, another one, and hostile names for copies.
func album(t *testing.T) (home, dir string) {
	base := t.TempDir()
	home, dir = filepath.Join(base, "home"), filepath.Join(base, "album")
	small := func(m image.Image, w, h int) image.Image {
		out := image.NewRGBA(image.Rect(0, 0, w, h))
		draw.BiLinear.Scale(out, out.Rect, m, m.Bounds(), draw.Src, nil)
		return out
	}
	a, b := photo(1, 640, 480), photo(2, 480, 640)
	writePicture(t, filepath.Join(dir, "a.png"), a)
	writePicture(t, filepath.Join(dir, "a.jpg"), a)
	writePicture(t, filepath.Join(dir, "web", "a small.jpg"), small(a, 200, 150))
	writePicture(t, filepath.Join(dir, "b.jpg"), b)
	writePicture(t, filepath.Join(dir, "web", "b.png"), small(b, 240, 320))
	writePicture(t, filepath.Join(dir, "c.jpg"), photo(3, 500, 400))
	for i, name := range hostileNames {
		path := filepath.Join(dir, "odd", strings.ReplaceAll(name, "/", "\u2215"))
		if !strings.HasSuffix(path, ".png") {
			path += ".png"
		}
		writePicture(t, path, photo(uint64(100+i/2), 300, 200))
	}
	return home, dir
}

func makePage(t *testing.T, args ...string) (page, home, dir string) {
	home, dir = album(t)
	page = filepath.Join(filepath.Dir(dir), "report.html")
	forgIn(t, home, 0, append([]string{"dupes", "--format", "html", "--output", page, dir}, args...)...)
	return page, home, dir
}

// TestPagePieces looks at the page as text: its policy, and that no name becomes markup.
func TestPagePieces(t *testing.T) {
	page, _, _ := makePage(t, "--similar", "images")
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{
		"<!DOCTYPE html>\n<html lang=\"en\">",
		`<h2 id="g1"><span class="quiet">1 ·</span> 3 pictures, `,
		`<bdi class="name">a.jpg</bdi></label> <strong class="badge">best</strong>`,
		`<span class="aside">Remove </span><bdi class="name">a small.jpg</bdi>`,
		`<img src="data:image/jpeg;base64,`, `alt="Picture a.jpg" loading="lazy"`,
		`640 × 480 PNG`, `480 × 640 JPEG`, `2024-05-01 10:00`, `&lt;img src=x onerror=alert(1)&gt;.png`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
	// The policy must name the style and the script that are there, byte by byte.
	css := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(text)[1]
	scripts := regexp.MustCompile(`(?s)<script([^>]*)>(.*?)</script>`).FindAllStringSubmatch(text, -1)
	if len(scripts) != 2 || scripts[0][1] != ` type="application/json" id="data"` || scripts[1][1] != "" {
		t.Fatalf("there are %d scripts", len(scripts))
	}
	meta := html.UnescapeString(regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(text)[1])
	if meta != policy(css, scripts[1][2]) {
		t.Errorf("the policy is %s, and must be %s", meta, policy(css, scripts[1][2]))
	}
	if strings.Contains(meta, "unsafe") {
		t.Errorf("the policy is %s", meta)
	}
	var data struct {
		Similar bool
		Groups  []organizer.SelectionGroup
	}
	if err := json.Unmarshal([]byte(scripts[0][2]), &data); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range data.Groups {
		for _, f := range g.Files {
			if f.PathBytes != nil {
				f.Path = string(f.PathBytes)
			}
			names = append(names, filepath.Base(f.Path))
		}
	}
	for _, name := range hostileNames {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, strings.ReplaceAll(name, "/", "\u2215")) }) {
			t.Errorf("%q is not there", name)
		}
	}
	// What is left when text, attributes' values and scripts are taken away is only markup of the template.
	bare := regexp.MustCompile(`(?s)<script.*?</script>|<style>.*?</style>`).ReplaceAllString(text, "")
	for _, tag := range regexp.MustCompile(`<[^>]*>`).FindAllString(bare, -1) {
		name := strings.ToLower(regexp.MustCompile(`^</?([!a-zA-Z0-9]*)`).FindStringSubmatch(tag)[1])
		if !slices.Contains([]string{"!doctype", "html", "head", "meta", "title", "body", "header", "h1", "p", "bdi", "main", "section", "div", "h2", "span",
			"button", "ul", "li", "label", "img", "input", "strong", "footer", "code"}, name) {
			t.Errorf("there is a tag %s", tag)
		}
		if regexp.MustCompile(`(?i)\son[a-z]+\s*=`).MatchString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(tag, `""`)) {
			t.Errorf("there is a handler in %s", tag)
		}
	}
}

// openBrowser starts a headless Chromium; complaints are what the page or its policy complained of.
func openBrowser(t *testing.T) (ctx context.Context, downloads string, complaints func() []string) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("chromium is missing")
		}
		t.Skip("THE PAGE IS NOT TESTED: chromium is missing")
	}
	downloads = t.TempDir()
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // before there is a limit, which would be the browser's
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var all []string
	err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			all = append(all, e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			all = append(all, fmt.Sprintf("console.%s", e.Type))
		case *log.EventEntryAdded:
			all = append(all, e.Entry.Text)
		}
	})
	if err == nil {
		_, err = chromedp.CallBrowser(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: "allow", DownloadPath: downloads})
	}
	if err != nil {
		t.Fatal(err)
	}
	return ctx, downloads, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// do has the browser do something.
func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// ask asks the browser for something.
func ask[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// saved waits for the selection that a page saves.
func saved(t *testing.T, dir string) []byte {
	t.Helper()
	name := filepath.Join(dir, "selection.json")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(name); err == nil && json.Valid(b) {
			return b
		}
	}
	t.Fatal("no selection was saved")
	return nil
}

// TestPage uses the page of similar pictures as a person does, and carries out what was chosen.
func TestPage(t *testing.T) {
	page, home, dir := makePage(t, "--similar", "images")
	ctx, downloads, complaints := openBrowser(t)
	do(t, ctx, chromedp.Navigate("file://"+page), chromedp.WaitVisible(chromedp.CSS("#save")))
	total := func() string { return ask(t, ctx, chromedp.Text(chromedp.CSS("#total"))) }
	first, saveOff := total(), ask(t, ctx, chromedp.Evaluate[bool](`document.getElementById("save").disabled`))
	// All pictures load, also those that are far down.
	all := ask(t, ctx, chromedp.Evaluate[int](`document.querySelectorAll("img").forEach((i) => { i.loading = "eager"; i.scrollIntoView(); }); document.querySelectorAll("img").length`))
	ask(t, ctx, chromedp.Poll[bool](`[...document.querySelectorAll("img")].every((i) => i.complete)`))
	shown := ask(t, ctx, chromedp.Evaluate[int](`[...document.querySelectorAll("img")].filter((i) => i.naturalWidth > 0).length`))
	// The first group: its best and one more go, by a click on a picture; the third must stay.
	do(t, ctx, chromedp.Click(chromedp.CSS(`label[for="f0-2"] img`)))
	one := total()
	do(t, ctx, chromedp.Click(chromedp.CSS(`#f0-1`)), chromedp.Click(chromedp.CSS(`#f0-0`)))
	after, others := total(), ask(t, ctx, chromedp.Evaluate[bool](`document.getElementById("f0-0").checked`))
	// With the keyboard alone: each choice can be reached and has a name, and space makes it.
	tabbed := ask(t, ctx, chromedp.Evaluate[bool](`[...document.querySelectorAll("input, button:not([hidden])")].every((e) => e.tabIndex >= 0 && (e.labels?.length > 0 || e.textContent.trim()))`))
	do(t, ctx, chromedp.SendKeys(chromedp.CSS(`#f1-1`), " "))
	typed := total()
	do(t, ctx, chromedp.SendKeys(chromedp.CSS(`#f1-1`), " "))
	contrast := ask(t, ctx, chromedp.Evaluate[bool](contrastJS))
	do(t, ctx, chromedp.Click(chromedp.CSS(`#save`)))
	if !saveOff || first != "Nothing selected" {
		t.Errorf("at first it says %q", first)
	}
	if all == 0 || shown != all {
		t.Errorf("%d of %d thumbnails are shown", shown, all)
	}
	if !regexp.MustCompile(`^1 file, [\d.]+ kB selected$`).MatchString(one) || !regexp.MustCompile(`^One file of each group must stay\. 2 files, [\d.]+ kB selected$`).MatchString(after) || others {
		t.Errorf("it said %q, then %q", one, after)
	}
	if !strings.HasPrefix(typed, "3 files, ") {
		t.Errorf("the space bar made it say %q", typed)
	}
	if !tabbed {
		t.Error("there are choices without a name, or out of reach of the keyboard")
	}
	if !contrast {
		t.Error("some text is too faint")
	}
	selection := saved(t, downloads)
	if c := complaints(); len(c) > 0 {
		t.Errorf("the browser complains: %q", c)
	}
	s, err := organizer.ReadSelection(bytes.NewReader(selection))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Groups) != 1 || len(s.Groups[0].Files) != 3 {
		t.Fatalf("saved: %s", selection)
	}
	file := filepath.Join(downloads, "selection.json")
	if _, errs := forgIn(t, home, 2, "dupes", "--from", file, "--action", "hardlink"); !strings.Contains(errs, "not equal") {
		t.Errorf("to link similar pictures was refused by: %s", errs)
	}
	if out, _ := forgIn(t, home, 0, "dupes", "--from", file, "--action", "trash", "-n"); !strings.Contains(out, "looks like") {
		t.Errorf("the dry run says: %s", out)
	}
	forgIn(t, home, 0, "dupes", "--from", file, "--action", "trash")
	for name, there := range map[string]bool{"a.jpg": true, "a.png": false, "web/a small.jpg": false, "b.jpg": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s is there: %t", name, err == nil)
		}
	}
	forgIn(t, home, 0, "undo")
	if _, err := os.Stat(filepath.Join(dir, "web/a small.jpg")); err != nil {
		t.Error(err)
	}
}

// contrastJS reports whether all text has the contrast that WCAG 2.2 asks for (1.4.3), against the card or page behind it.
const contrastJS = `(() => {
	const light = (c) => { const [r, g, b] = c.match(/[\d.]+/g).slice(0, 3).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
		return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const back = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$/.test(c)) return c; } return "rgb(255,255,255)"; };
	return [...document.querySelectorAll("h1, h2, p, span, label, strong, bdi, code, button:not(:disabled)")].filter((e) => e.textContent.trim() && !e.closest("[hidden]")).every((e) => {
		const a = light(getComputedStyle(e).color), b = light(back(e));
		return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) >= 4.5;
	});
})()`

// TestPageEqual uses the page of equal files: "all but the best", and what it saves is a report that says who stays.
func TestPageEqual(t *testing.T) {
	home, dir := album(t)
	copyOf, err := os.ReadFile(filepath.Join(dir, "a.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"copy.jpg", "web/copy.jpg"} {
		if err := os.WriteFile(filepath.Join(dir, name), copyOf, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page := filepath.Join(filepath.Dir(dir), "equal.html")
	forgIn(t, home, 0, "dupes", "--format", "html", "--output", page, dir)
	ctx, downloads, complaints := openBrowser(t)
	do(t, ctx, chromedp.Navigate("file://"+page), chromedp.Click(chromedp.CSS("#others")))
	total := ask(t, ctx, chromedp.Text(chromedp.CSS("#total")))
	do(t, ctx, chromedp.Click(chromedp.CSS("#save")))
	if !strings.HasPrefix(total, "7 files, ") {
		t.Errorf("it says %q", total)
	}
	saved(t, downloads)
	if c := complaints(); len(c) > 0 {
		t.Errorf("the browser complains: %q", c)
	}
	forgIn(t, home, 0, "dupes", "--from", filepath.Join(downloads, "selection.json"), "--action", "trash")
	for name, there := range map[string]bool{"a.jpg": true, "copy.jpg": false, "web/copy.jpg": false} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s is there: %t", name, err == nil)
		}
	}
}

// TestPageLooks checks the contrast in the dark, and that nothing is wider than a telephone; with -screenshots it also
// takes pictures.
func TestPageLooks(t *testing.T) {
	page, _, _ := makePage(t, "--similar", "images", "--rotation")
	ctx, _, _ := openBrowser(t)
	for _, scheme := range []string{"light", "dark"} {
		for name, size := range map[string][2]int64{"desktop": {1280, 900}, "phone": {390, 844}} {
			if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
				t.Fatal(err)
			}
			do(t, ctx, chromedp.EmulateViewport(size[0], size[1]), chromedp.Navigate("file://"+page), chromedp.WaitVisible(chromedp.CSS("#save")),
				chromedp.Click(chromedp.CSS("#f0-1")))
			contrast := ask(t, ctx, chromedp.Evaluate[bool](contrastJS))
			fits := ask(t, ctx, chromedp.Evaluate[bool](`scrollTo(0, 0); document.documentElement.scrollWidth <= innerWidth`))
			shot := ask(t, ctx, chromedp.CaptureScreenshot())
			do(t, ctx, chromedp.Click(chromedp.CSS("#clear"))) // or leaving would be asked about
			if !contrast || !fits {
				t.Errorf("%s, %s: the contrast is enough: %t; it fits: %t", scheme, name, contrast, fits)
			}
			if *screenshots != "" {
				if err := os.WriteFile(filepath.Join(*screenshots, scheme+"-"+name+".png"), shot, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
