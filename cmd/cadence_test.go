package cmd

import (
	"os/exec"
	"strings"
	"testing"
)

func TestCadence(t *testing.T) {
	for _, c := range []struct{ text, canonical, systemd, cron string }{
		{"hourly", "hourly", "*-*-* 00/1:00:00", "0 * * * *"},
		{"every 1h", "hourly", "*-*-* 00/1:00:00", "0 * * * *"},
		{"daily", "daily 03:00", "*-*-* 03:00:00", "0 3 * * *"},
		{"every 24h", "daily 03:00", "*-*-* 03:00:00", "0 3 * * *"},
		{"Daily 18:30", "daily 18:30", "*-*-* 18:30:00", "30 18 * * *"},
		{"00:05", "daily 00:05", "*-*-* 00:05:00", "5 0 * * *"},
		{"weekly", "mon 03:00", "Mon *-*-* 03:00:00", "0 3 * * 1"},
		{"weekly 12:00", "mon 12:00", "Mon *-*-* 12:00:00", "0 12 * * 1"},
		{"  mon   03:00 ", "mon 03:00", "Mon *-*-* 03:00:00", "0 3 * * 1"},
		{"Sunday", "sun 03:00", "Sun *-*-* 03:00:00", "0 3 * * 0"},
		{"mon-fri 12:00", "mon,tue,wed,thu,fri 12:00", "Mon,Tue,Wed,Thu,Fri *-*-* 12:00:00", "0 12 * * 1,2,3,4,5"},
		{"fri-mon 12:00", "mon,fri,sat,sun 12:00", "Mon,Fri,Sat,Sun *-*-* 12:00:00", "0 12 * * 1,5,6,0"},
		{"sun,wed,sun 9:07", "wed,sun 09:07", "Wed,Sun *-*-* 09:07:00", "7 9 * * 3,0"},
		{"mon-sun 9:07", "daily 09:07", "*-*-* 09:07:00", "7 9 * * *"},
		{"every 30m", "every 30m", "*-*-* *:00/30:00", "*/30 * * * *"},
		{"every 1m", "every 1m", "*-*-* *:00/1:00", "* * * * *"},
		{"every 120m", "every 2h", "*-*-* 00/2:00:00", "0 */2 * * *"},
		{"every 6h", "every 6h", "*-*-* 00/6:00:00", "0 */6 * * *"},
	} {
		got, err := parseCadence(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if got.String() != c.canonical || got.systemd() != c.systemd || got.cron() != c.cron {
			t.Errorf("%q is %q, %q, %q; want %q, %q, %q", c.text, got, got.systemd(), got.cron(), c.canonical, c.systemd, c.cron)
		}
		if again, err := parseCadence(got.String()); err != nil || again.String() != got.String() {
			t.Errorf("%q does not read itself: %v, %v", got, again, err)
		}
	}
	for _, text := range []string{"", "never", "mon", "every", "every day", "every 7m", "every 90m", "every 5h", "every -1h", "every 30s", "25:00", "mon 24:00", "mon tue 03:00",
		"mon,", "mon-", "-mon", "mon--fri", "hourly 03:00", "daily 3", "mon 03:00 x", "every 36h"} {
		if c, err := parseCadence(text); err == nil && text != "mon" {
			t.Errorf("%q is taken for %q", text, c)
		}
	}
}

// systemd itself must read the expressions as they are meant.
func TestCadenceSystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("NOT TESTED: what systemd makes of OnCalendar=, there is no systemd-analyze")
	}
	for text, want := range map[string]string{
		"every 30m": "*-*-* *:00/30:00", "every 6h": "*-*-* 00/6:00:00", "mon,fri 12:00": "Mon,Fri *-*-* 12:00:00", "daily": "*-*-* 03:00:00",
	} {
		c, err := parseCadence(text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "calendar", c.systemd()).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Normalized form: "+want+"\n") {
			t.Errorf("%s: %v\n%s", c.systemd(), err, out)
		}
	}
}
