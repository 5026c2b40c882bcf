package cmd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"
	"unicode/utf16"
)

// tasks is the Task Scheduler of Windows, by way of schtasks.
type tasks struct{ *app }

func (tasks) String() string { return usingTasks }

// path is what the job is called in the scheduler's folders.
func (tasks) path(j *job) string { return `\forg\` + j.name() }

func (t tasks) units(j *job) ([]unit, error) {
	var bad error
	text := func(s string) string {
		x, err := xmlText(s)
		bad = errors.Join(bad, err)
		return x
	}
	name := t.getenv("USERNAME")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	for _, w := range j.argv {
		if taskVariable().MatchString(w) {
			return nil, fmt.Errorf("%q would be taken for a variable by the Task Scheduler, and cannot be escaped", w)
		}
	}
	words := make([]string, len(j.argv)-1)
	for i, w := range j.argv[1:] {
		words[i] = windowsQuote(w)
	}
	trigger := fmt.Sprintf("    <LogonTrigger>\n      <UserId>%s</UserId>\n    </LogonTrigger>\n", text(name))
	restart := "    <RestartOnFailure>\n      <Interval>PT1M</Interval>\n      <Count>255</Count>\n    </RestartOnFailure>\n"
	if j.Kind == scheduleJob {
		c, err := parseCadence(j.When)
		if err != nil {
			return nil, err
		}
		trigger, restart = c.taskTrigger(), ""
	}
	return []unit{{t.path(j), fmt.Sprintf(`<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>%s</Description>
  </RegistrationInfo>
  <Triggers>
%s  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>%s</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>7</Priority>
%s  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>%s</Command>
      <Arguments>%s</Arguments>
    </Exec>
  </Actions>
</Task>
`, j.mark(), trigger, text(name), restart, text(windowsQuote(j.argv[0])), text(strings.Join(words, " ")))}}, bad
}

// taskTrigger is when a job runs, as the Task Scheduler's schema says it. Its days begin long ago, so that the next one
// counts.
func (c cadence) taskTrigger() string {
	begin := fmt.Sprintf("      <StartBoundary>2020-01-06T%02d:%02d:00</StartBoundary>\n", c.hour, c.minute)
	switch {
	case c.every >= time.Hour:
		return fmt.Sprintf("    <TimeTrigger>\n      <Repetition>\n        <Interval>PT%dH</Interval>\n      </Repetition>\n%s    </TimeTrigger>\n", c.every/time.Hour, begin)
	case c.every > 0:
		return fmt.Sprintf("    <TimeTrigger>\n      <Repetition>\n        <Interval>PT%dM</Interval>\n      </Repetition>\n%s    </TimeTrigger>\n", c.every/time.Minute, begin)
	case len(c.days) == 0:
		return "    <CalendarTrigger>\n" + begin + "      <ScheduleByDay>\n        <DaysInterval>1</DaysInterval>\n      </ScheduleByDay>\n    </CalendarTrigger>\n"
	}
	days := ""
	for _, d := range c.days {
		days += fmt.Sprintf("          <%s />\n", d)
	}
	return "    <CalendarTrigger>\n" + begin + "      <ScheduleByWeek>\n        <DaysOfWeek>\n" + days +
		"        </DaysOfWeek>\n        <WeeksInterval>1</WeeksInterval>\n      </ScheduleByWeek>\n    </CalendarTrigger>\n"
}

// xml is the task of that name as the scheduler has it; "" if it has none.
func (t tasks) xml(ctx context.Context, path string) string {
	text, err := t.app.run(ctx, "", "schtasks", "/Query", "/TN", path, "/XML")
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(text, "\x00", "") // it may come as UTF-16
}

func (t tasks) add(ctx context.Context, j *job) error {
	units, err := t.units(j)
	if err != nil {
		return err
	}
	args := []string{"/Create", "/TN", t.path(j), "/XML", ""}
	if was := t.xml(ctx, t.path(j)); was != "" {
		if marked(was) == nil {
			return fmt.Errorf("create task %s: it is there already, and forg did not write it; delete it first", t.path(j))
		}
		args = append(args, "/F")
	}
	f, err := os.CreateTemp("", "forg-*.xml")
	if err != nil {
		return fmt.Errorf("create task %s: %w", t.path(j), err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(utf16Text(units[0].text))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("create task %s: %w", t.path(j), err)
	}
	args[4] = f.Name()
	if _, err = t.app.run(ctx, "", "schtasks", args...); err == nil && j.stays() {
		_, err = t.app.run(ctx, "", "schtasks", "/Run", "/TN", t.path(j))
	}
	return err
}

func (t tasks) remove(ctx context.Context, j *job) error {
	t.app.run(ctx, "", "schtasks", "/End", "/TN", t.path(j)) // if it runs
	_, err := t.app.run(ctx, "", "schtasks", "/Delete", "/TN", t.path(j), "/F")
	return err
}

var taskName = lazily(`\\forg\\(forg-(watch|schedule|agent)-[a-z0-9-]+)`)

func (t tasks) jobs(ctx context.Context, kind string) ([]*job, error) {
	list, err := t.app.run(ctx, "", "schtasks", "/Query", "/FO", "CSV", "/NH")
	if err != nil {
		return nil, err
	}
	var all []*job
	seen := map[string]bool{}
	for _, m := range taskName().FindAllStringSubmatch(list, -1) { // once for each trigger
		if m[2] != kind || seen[m[0]] {
			continue
		}
		seen[m[0]] = true
		if j := marked(t.xml(ctx, m[0])); j != nil {
			all = append(all, j)
		}
	}
	return all, nil
}

func (tasks) hint(*job) string { return "It runs while you are logged in." }

// taskVariable is what the scheduler replaces in commands and arguments: %NAME% and $(Arg0).
var taskVariable = lazily(`%[^%]+%|\$\([A-Za-z]`)

// windowsQuote is a word as programs of Windows take command lines apart: backslashes mean something only before a quote.
func windowsQuote(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\n\v\"") {
		return word
	}
	var b strings.Builder
	b.WriteByte('"')
	backslashes := 0
	for i := range len(word) {
		switch c := word[i]; c {
		case '\\':
			backslashes++
			continue
		case '"':
			b.WriteString(strings.Repeat(`\`, 2*backslashes+1))
		default:
			b.WriteString(strings.Repeat(`\`, backslashes))
		}
		backslashes = 0
		b.WriteByte(word[i])
	}
	b.WriteString(strings.Repeat(`\`, 2*backslashes) + `"`)
	return b.String()
}

// utf16Text is text as schtasks reads it: with a byte order mark.
func utf16Text(text string) []byte {
	out := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(strings.ReplaceAll(text, "\n", "\r\n"))) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}
