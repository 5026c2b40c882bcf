package rules

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The file of starters is in order, fits the schema, and each block is one rule.
func TestStarters(t *testing.T) {
	whole := mustParse(t, string(starterYAML))
	all := Starters()
	if len(all) != len(whole.All()) {
		t.Fatalf("%d blocks for %d rules", len(all), len(whole.All()))
	}
	asks := 0
	for i, s := range all {
		r := mustParse(t, "rules:\n"+s.In("~/My {odd}: folder"))
		if got := r.All(); len(got) != 1 || got[0].Name != s.Name || whole.All()[i].Name != s.Name {
			t.Errorf("the block of %q is %v", s.Name, names(got))
		}
		if l := r.Locations(); len(l) != 1 || !strings.HasSuffix(l[0].Path, "/My {odd}: folder") {
			t.Errorf("%s: its location is %v", s.Name, l)
		}
		if s.Ask {
			asks++
		}
		for _, a := range whole.All()[i].Actions {
			if a.Kind == Trash && !s.Ask {
				t.Errorf("%s: nothing goes to the trash unless a person says so", s.Name)
			}
		}
	}
	if asks != 3 {
		t.Errorf("%d rules ask, and x-ask names 3", asks)
	}
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if err := (&validator{root: schema}).check(schema, yamlValue(t, string(starterYAML)), ""); err != nil {
		t.Error(err)
	}
}

// Names of all systems and languages find their rule.
func TestStarterNames(t *testing.T) {
	rules := mustParse(t, string(starterYAML))
	for name, want := range map[string]string{
		"Screenshot 2026-01-05 at 10.11.12.png":      "Screenshots",
		"Screen Shot 2019-01-05 at 10.11.12 AM.png":  "Screenshots",
		"Screenshot from 2026-01-05 10-11-12.png":    "Screenshots",
		"Screenshot_20260105-101112_Chrome.jpg":      "Screenshots",
		"Bildschirmfoto 2026-01-05 um 10.11.12.png":  "Screenshots",
		"Bildschirmfoto vom 2026-01-05 10-11-12.png": "Screenshots",
		"Capture d’écran 2026-01-05 à 10.11.12.png":  "Screenshots",
		"Capture d'écran 2026-01-05.png":             "Screenshots",
		"captura de pantalla 1.png":                  "Screenshots",
		"Na\u0308ytto\u0308kuva 2026-01-05.png":      "Screenshots", // as macOS writes umlauts
		"スクリーンショット 2026-01-05.png":                   "Screenshots",
		"Screencast from 2026-01-05.webm":            "Screenshots",
		"Screenshot-notes.txt":                       "Everything else",
		"IMG-20260105-WA0003.jpg":                    "WhatsApp",
		"WhatsApp Video 2026-01-05 at 10.11.12.mp4":  "WhatsApp",
		"signal-2026-01-05-101112_002.jpeg":          "Signal",
		"photo_2026-01-05_10-11-12.jpg":              "Telegram",
		"Kontoauszug_2026_01.pdf":                    "Bank statements",
		"RECHNUNG-4711.pdf":                          "Invoices and receipts",
		"your receipt.pdf":                           "Invoices and receipts",
		"facture-12.pdf":                             "Invoices and receipts",
		"invoice.docx":                               "Everything else",
		"BoardingPass-X.pkpass":                      "Tickets and bookings",
		"Scan_0001.pdf":                              "Scans",
		"Scandinavia.pdf":                            "Everything else",
		"city wallpaper 4k.jpg":                      "Wallpapers",
		"film.srt":                                   "Videos",
		"film.mkv":                                   "Videos",
		"novel.epub":                                 "Books",
		"Inter.ttf":                                  "Fonts",
		"debian.torrent":                             "Torrents",
		"setup.msi":                                  "Old installers",
		"backup.tar.gz":                              "Archives",
		"main.go":                                    "Code snippets",
		"debian.iso":                                 "Disk images",
		"logo.svg":                                   "Other pictures",
	} {
		set := Builtin()
		_, ext := set.Split(name)
		f := &testCase{file: name, dir: "/home/x/Downloads", set: set, facts: map[string]Value{
			FactSize: int64(1000), FactModified: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}}
		if k, _ := set.ByExtension(ext); k != nil {
			f.facts[FactCategory], f.facts[FactType] = k.Category, k.Type
		}
		root := rules.Locations()[0].Path
		f.dir = root
		d := rules.Scope(root, root, false).Decide(f)
		got := ""
		if len(d.Steps) > 0 {
			got = d.Steps[0].Rule.Name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
