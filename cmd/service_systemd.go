package cmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// systemd is the systemd of this user, see systemd.service(5), systemd.timer(5) and systemd.exec(5).
type systemd struct{ *app }

func (systemd) String() string { return usingSystemd }

func (s systemd) dir() (string, error) {
	d, err := s.baseDir("XDG_CONFIG_HOME", ".config", ".config", "AppData")
	return filepath.Join(d, "systemd", "user"), err
}

func (s systemd) units(j *job) ([]unit, error) {
	dir, err := s.dir()
	if err != nil {
		return nil, err
	}
	base := filepath.Join(dir, j.name())
	head := fmt.Sprintf("# %s\n[Unit]\nDescription=%s\n", j.mark(), systemdText(j.title()))
	exec := "ExecStart=" + systemdCommand(j.argv) + "\nNice=10\n"
	if j.stays() {
		// It tries again, for a folder that is not mounted yet, say, but not with a mistake in its command line.
		return []unit{{base + ".service", head + "StartLimitIntervalSec=0\n\n[Service]\nType=notify\n" + exec +
			"Restart=on-failure\nRestartSec=30\nSuccessExitStatus=143\nRestartPreventExitStatus=2\n\n[Install]\nWantedBy=default.target\n"}}, nil
	}
	c, err := parseCadence(j.When)
	if err != nil {
		return nil, err
	}
	return []unit{
		{base + ".service", head + "\n[Service]\nType=oneshot\n" + exec + "SuccessExitStatus=143\n"},
		{base + ".timer", head + "\n[Timer]\nOnCalendar=" + c.systemd() + "\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n"},
	}, nil
}

// started is the unit that is enabled.
func (systemd) started(j *job) string {
	if j.stays() {
		return j.name() + ".service"
	}
	return j.name() + ".timer"
}

func (s systemd) add(ctx context.Context, j *job) error {
	units, err := s.units(j)
	if err != nil {
		return err
	}
	for _, u := range units {
		if err := writeUnit(u); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", s.started(j)}, {"restart", s.started(j)}} {
		if _, err := s.run(ctx, "", "systemctl", append([]string{"--user"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

func (s systemd) remove(ctx context.Context, j *job) error {
	dir, err := s.dir()
	if err != nil {
		return err
	}
	_, stop := s.run(ctx, "", "systemctl", "--user", "disable", "--now", s.started(j))
	err = errors.Join(removeUnit(filepath.Join(dir, j.name()+".timer")), removeUnit(filepath.Join(dir, j.name()+".service")))
	_, reload := s.run(ctx, "", "systemctl", "--user", "daemon-reload")
	return errors.Join(err, stop, reload)
}

func (s systemd) jobs(_ context.Context, kind string) ([]*job, error) {
	dir, err := s.dir()
	if err != nil {
		return nil, err
	}
	return markedFiles(filepath.Join(globEscape(dir), "forg-"+kind+"-*.service"), kind)
}

func (s systemd) hint(j *job) string {
	return fmt.Sprintf("Its messages: journalctl --user -u %s\nIt runs while you are logged in. To let it run always: loginctl enable-linger", j.name())
}

// systemdCommand is a command line for ExecStart=. Each word is quoted: \ begins an escape there, % a specifier, $ a
// variable, and bytes that are no UTF-8 would make systemd ignore the line.
func systemdCommand(argv []string) string {
	// Nothing of the program's own name can be escaped.
	if !plainProgram().MatchString(argv[0]) {
		argv = append([]string{"/usr/bin/env", "--"}, argv...)
	}
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = systemdQuote(w)
	}
	return strings.Join(words, " ")
}

var plainProgram = lazily(`^[A-Za-z0-9_./+@,=~ -]+$`)

func systemdQuote(word string) string {
	var b strings.Builder
	b.WriteByte('"')
	for len(word) > 0 {
		r, n := utf8.DecodeRuneInString(word)
		switch {
		case r == '\\' || r == '"':
			b.WriteString(`\` + word[:1])
		case r == '%' || r == '$':
			b.WriteString(word[:1] + word[:1])
		case r < ' ' || r == 0x7f || r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, word[0])
		default:
			b.WriteString(word[:n])
		}
		word = word[n:]
	}
	b.WriteByte('"')
	return b.String()
}

// systemdText is a text for Description=, which goes to the end of the line.
func systemdText(text string) string {
	return strings.TrimRight(strings.ReplaceAll(strings.ToValidUTF8(text, "?"), "%", "%%"), `\`)
}
