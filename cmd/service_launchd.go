package cmd

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// launchd is the launchd of macOS, see launchd.plist(5).
type launchd struct{ *app }

func (launchd) String() string { return usingLaunchd }

func (l launchd) dir() (string, error) {
	h, err := l.home()
	return filepath.Join(h, "Library", "LaunchAgents"), err
}

func (l launchd) units(j *job) ([]unit, error) {
	dir, err := l.dir()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	var bad error
	text := func(s string) string {
		x, err := xmlText(s)
		bad = errors.Join(bad, err)
		return x
	}
	fmt.Fprintf(&b, "%s<!-- %s -->\n", xml.Header, j.mark())
	b.WriteString("<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n")
	fmt.Fprintf(&b, "\t<key>Label</key>\n\t<string>%s</string>\n\t<key>ProgramArguments</key>\n\t<array>\n", text(j.name()))
	for _, w := range j.argv {
		fmt.Fprintf(&b, "\t\t<string>%s</string>\n", text(w))
	}
	b.WriteString("\t</array>\n\t<key>ProcessType</key>\n\t<string>Background</string>\n")
	log := filepath.Join(filepath.Dir(dir), "Logs", j.name()+".log")
	fmt.Fprintf(&b, "\t<key>StandardOutPath</key>\n\t<string>%s</string>\n\t<key>StandardErrorPath</key>\n\t<string>%s</string>\n", text(log), text(log))
	if j.stays() {
		b.WriteString("\t<key>RunAtLoad</key>\n\t<true/>\n\t<key>KeepAlive</key>\n\t<dict>\n\t\t<key>SuccessfulExit</key>\n\t\t<false/>\n\t</dict>\n\t<key>ThrottleInterval</key>\n\t<integer>30</integer>\n")
	} else {
		c, err := parseCadence(j.When)
		if err != nil {
			return nil, err
		}
		b.WriteString(c.launchd())
	}
	b.WriteString("</dict>\n</plist>\n")
	return []unit{{filepath.Join(dir, j.name()+".plist"), b.String()}}, bad
}

// launchd is when a job runs, as keys of a property list. A time at which the machine sleeps is made up for.
func (c cadence) launchd() string {
	if c.every > 0 {
		return fmt.Sprintf("\t<key>StartInterval</key>\n\t<integer>%d</integer>\n", c.every/time.Second)
	}
	at := func(day string) string {
		return fmt.Sprintf("\t\t<dict>\n%s\t\t\t<key>Hour</key>\n\t\t\t<integer>%d</integer>\n\t\t\t<key>Minute</key>\n\t\t\t<integer>%d</integer>\n\t\t</dict>\n", day, c.hour, c.minute)
	}
	times := ""
	for _, d := range c.days {
		times += at(fmt.Sprintf("\t\t\t<key>Weekday</key>\n\t\t\t<integer>%d</integer>\n", int(d)))
	}
	if len(c.days) == 0 {
		times = at("")
	}
	return "\t<key>StartCalendarInterval</key>\n\t<array>\n" + times + "\t</array>\n"
}

func (l launchd) domain() string { return fmt.Sprintf("gui/%d", os.Getuid()) }

func (l launchd) add(ctx context.Context, j *job) error {
	units, err := l.units(j)
	if err != nil {
		return err
	}
	if err := writeUnit(units[0]); err != nil {
		return err
	}
	l.app.run(ctx, "", "launchctl", "bootout", l.domain()+"/"+j.name()) // an older one, if there is one
	_, err = l.app.run(ctx, "", "launchctl", "bootstrap", l.domain(), units[0].where)
	return err
}

func (l launchd) remove(ctx context.Context, j *job) error {
	dir, err := l.dir()
	if err != nil {
		return err
	}
	_, stop := l.app.run(ctx, "", "launchctl", "bootout", l.domain()+"/"+j.name())
	return errors.Join(removeUnit(filepath.Join(dir, j.name()+".plist")), stop)
}

func (l launchd) jobs(_ context.Context, kind string) ([]*job, error) {
	dir, err := l.dir()
	if err != nil {
		return nil, err
	}
	return markedFiles(filepath.Join(globEscape(dir), "forg-"+kind+"-*.plist"), kind)
}

func (l launchd) hint(j *job) string {
	return fmt.Sprintf("Its messages: ~/Library/Logs/%s.log\nIf macOS keeps it out of the folder, allow forg in System Settings, Privacy & Security, Files and Folders.", j.name())
}

// xmlText is s in an XML document. What XML cannot hold, control characters and bytes that are no UTF-8, is an error: it
// would name another file.
func xmlText(s string) (string, error) {
	for _, r := range s {
		if r < ' ' || r == utf8.RuneError || r == 0xfffe || r == 0xffff {
			return "", fmt.Errorf("%q holds characters that cannot be written down for the service manager", s)
		}
	}
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}
