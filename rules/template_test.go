package rules

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestTemplates(t *testing.T) {
	facts := map[string]Value{
		FactTaken:      time.Date(2023, 12, 31, 23, 59, 58, 1_500_000, time.FixedZone("JST", 9*3600)),
		FactCreated:    time.Date(2024, 1, 1, 0, 30, 0, 0, time.UTC),
		FactModified:   time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC),
		FactSize:       int64(1234567),
		FactImageWidth: int64(1920), FactVideoDuration: 61.75, FactAudioTrack: int64(-7),
		FactExif:        map[string]string{"image.model": "X/100"},
		FactAudioArtist: "AC/DC", FactAudioTitle: "../../etc/passwd", FactAudioAlbum: "", FactAudioGenre: "{name} $HOME `x`",
		FactOrigin: []string{"https://www.Example.com:80/a"}, FactTags: []string{"a", "b"},
		FactAccessed: errDamaged,
	}
	for _, c := range []struct{ template, want string }{ // want starts with ! if the file has no value
		{"{name}|{ext}|{filename}", "Ünïted_cats|pdf|Ünïted_cats.pdf"},
		{"{taken}", "2023-12-31"},
		{"{taken:%Y-%m-%d %H.%M.%S}", "2023-12-31 23.59.58"},
		{"{taken:%Z%z}", "JST+0900"},
		{"{created:%F %T}", "2024-01-01 02:30:00"},
		{"{now:%F %R}", "2024-06-01 12:00"},
		{"{modified:%-d.%-m.%y}", "3.2.24"},
		{"{taken:%j %V %G %g %U %W %q %C %e %u %w %a %A %b %B %I %p %f %%}", "365 52 2023 23 53 52 4 20 31 7 0 Sun Sunday Dec December 11 PM 001500 %"},
		{"{size}", "1234567"},
		{"{size:09}", "001234567"},
		{"{size:9}", "  1234567"},
		{"{size:3}", "1234567"},
		{"{audio.track:03}", "-07"},
		{"{image.width}x", "1920x"},
		{"{video.duration}", "61.8"},
		{"{video.duration:.0}", "62"},
		{"{video.duration:06.1}", "0061.8"},
		{"{video.duration:05}", "00062"},
		{"{name:.3}", "Ünï"},
		{"{name:.300}", "Ünïted_cats"},
		{"{hash.md5:4 ?? 'x'}", "x"},
		{"{exif.image.model}", "X/100"},
		{"{exif.image.make}", "!the file has no value for {exif.image.make}"},
		{"{audio.artist}", "AC/DC"},
		{"{audio.album}", "!the file has no value for {audio.album}"},
		{"{audio.composer ?? audio.album ?? audio.artist}", "AC/DC"},
		{"{audio.composer ?? \"Un{k}nown\"}", "Un{k}nown"},
		{"{audio.composer ?? 'it''s'}", "!parse"},
		{"{audio.composer?? 'a\\'b'}", "a'b"},
		{"{accessed ?? 'x'}", "!{accessed ?? 'x'}: it is damaged"},
		{"{audio.composer|default:\"-\"|upper}", "-"},
		{"{audio.composer|upper|default:none}", "none"},
		{"{audio.genre}", "{name} $HOME `x`"},
		{"{origin} {origin.host} {tags}", "https://www.Example.com:80/a example.com a, b"},
		{"{env.WHO} {env.MISSING ?? 'no'}{env.MISSING|default:x}", "me nox"},
		{"{name|lower}", "ünïted_cats"},
		{"{name|upper}", "ÜNÏTED_CATS"},
		{"{name|ascii}", "United_cats"},
		{"{name|replace:\"_\":\" \"|title}", "Ünïted Cats"},
		{"{name|slug}", "united-cats"},
		{"{name | first:2 | last:1}", "n"},
		{"{name|last:300}", "Ünïted_cats"},
		{"{name|before:'_'}-{name|after:_}", "Ünïted-cats"},
		{"{name|before:zz}-{name|after:zz}", "Ünïted_cats-Ünïted_cats"},
		{"{name|trim:'Üs'}", "nïted_cat"},
		{"{name|trim}", "Ünïted_cats"},
		{"{name|replace:'':'x'}", "Ünïted_cats"},
		{"{name|before:Ü ?? 'empty'}", "empty"},
		{"{name|before:Ü}", "!the file has no value for {name|before:Ü}"},
		{"{{name}} {{{name|first:1}}}", "{name} {Ü}"},
		{"{ name }", "Ünïted_cats"},
		{"{relative_path} {depth} {parent} {location} {path}", "in/Ünïted_cats.pdf 1 in /d /d/in/Ünïted_cats.pdf"},
	} {
		f := &fakeFile{dir: "/d/in", name: "Ünïted_cats.pdf", facts: facts}
		r, err := Parse("t", []byte(oneRule("", "- echo: |-\n    "+c.template)), testOptions())
		if err != nil {
			if c.want != "!parse" {
				t.Errorf("%s: %v", c.template, err)
			}
			continue
		}
		d := r.Scope("/d", "/d/in", true).Decide(f)
		var got string
		if len(d.Steps) == 1 {
			got = d.Steps[0].Text
		} else {
			got = "!" + d.Unknown[0].Err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.template, got, c.want)
		}
	}
}

func TestStrftime(t *testing.T) {
	for _, c := range []struct {
		format string
		t      time.Time
		want   string
	}{
		{"%e|%-e|%d|%-d", time.Date(2024, 2, 3, 0, 0, 0, 0, time.UTC), " 3|3|03|3"},
		{"%I %p", time.Date(2024, 2, 3, 0, 0, 0, 0, time.UTC), "12 AM"},
		{"%I %p", time.Date(2024, 2, 3, 12, 0, 0, 0, time.UTC), "12 PM"},
		{"%U %W %V %G", time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), "00 01 01 2024"}, // a Monday
		{"%U %W %V %G", time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC), "01 00 52 2022"}, // a Sunday
		{"%Y %y %C", time.Date(987, 1, 1, 0, 0, 0, 0, time.UTC), "0987 87 09"},
		{"%Y %y", time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC), "-005 95"},
		{"%s", time.Date(1970, 1, 1, 0, 1, 0, 0, time.UTC), "60"},
	} {
		f, err := parseDateFormat(c.format)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.format(c.t); got != c.want {
			t.Errorf("%s: %q, want %q", c.format, got, c.want)
		}
	}
	for _, bad := range []string{"%", "%-", "%Q", "%D", "%é", "%E"} {
		if _, err := parseDateFormat(bad); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}

func TestComponents(t *testing.T) {
	set := Builtin()
	for _, c := range []struct {
		in, want, windows string
	}{
		{"a", "a", ""},
		{"a/b\\c", "a_b_c", ""},
		{"a\nb\x00\x7f\u0085", "a_b___", ""},
		{"a:b*?\"<>|", "a:b*?\"<>|", "a_b______"},
		{".", "_", ""},
		{"..", "_", ""},
		{" .. ", "_", ""},
		{"...", "_", ""},
		{"..a", "..a", ""},
		{"a. .", "a", ""},
		{"  a ", "a", ""},
		{"", "", ""},
		{"   ", "", ""},
		{"CON", "CON_", ""},
		{"con.txt", "con_.txt", ""},
		{"aux .x.y", "aux _.x.y", ""},
		{"LPT1", "LPT1_", ""},
		{"com¹.log", "com¹_.log", ""},
		{"COM10", "COM10", ""},
		{"CONSOLE", "CONSOLE", ""},
		{"gpj.\u202eexe", "gpj._exe", ""},
		{"\xff\xfe/", "\xff\xfe_", ""},
		{strings.Repeat("x", 300) + ".tar.gz", strings.Repeat("x", 248) + ".tar.gz", ""},
		{strings.Repeat("ä", 200) + ".pdf", strings.Repeat("ä", 125) + ".pdf", ""},
		{strings.Repeat("日", 100), strings.Repeat("日", 85), ""},
		{"a." + strings.Repeat("x", 300), "a." + strings.Repeat("x", 253), ""},
	} {
		if got := component(c.in, set, true, false); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
		want := c.windows
		if want == "" {
			want = c.want
		}
		if got := component(c.in, set, true, true); got != want {
			t.Errorf("%q on Windows: %q, want %q", c.in, got, want)
		}
	}
}

func TestCharacters(t *testing.T) {
	for _, c := range []struct {
		s           string
		n           int
		first, last string
	}{
		{"abc", 2, "ab", "bc"},
		{"abc", 5, "abc", "abc"},
		{"e\u0301a", 1, "e\u0301", "a"},
		{"👨\u200d👩\u200d👧x", 1, "👨\u200d👩\u200d👧", "x"},
		{"👍🏽x", 1, "👍🏽", "x"},
		{"\xffab", 1, "\xff", "b"},
	} {
		if got := firstCharacters(c.s, c.n); got != c.first {
			t.Errorf("first %d of %q: %q", c.n, c.s, got)
		}
		if got := lastCharacters(c.s, c.n); got != c.last {
			t.Errorf("last %d of %q: %q", c.n, c.s, got)
		}
	}
	for in, want := range map[string]string{"Crème Brûlée – ½ €": "creme-brulee-1-2-eur", "Straße №5's": "strasse-no5s", "日本": "", "--a--": "a"} {
		if got := slug(in); got != want {
			t.Errorf("slug of %q: %q", in, got)
		}
	}
	if got := limit(strings.Repeat("ä", maxValue)); len(got) > maxValue || !utf8.ValidString(got) {
		t.Error(len(got))
	}
}
