package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// cron is the cron of any Unix: a table of this user with a line for each job, between two lines of comment.
type cron struct{ *app }

func (cron) String() string { return usingCron }

func (cron) units(j *job) ([]unit, error) {
	when, argv := "@reboot", slices.Insert(slices.Clone(j.argv), 2, "--quiet") // what is printed, cron would send by mail
	if j.Kind == scheduleJob {
		c, err := parseCadence(j.When)
		if err != nil {
			return nil, err
		}
		when, argv = c.cron(), j.argv
	}
	line, err := cronCommand(argv)
	if err != nil {
		return nil, err
	}
	return []unit{{"crontab", fmt.Sprintf("# %s\n%s %s\n# End of %s\n", j.mark(), when, line, j.name())}}, nil
}

// table is the user's table, "" if there is none.
func (c cron) table(ctx context.Context) (string, error) {
	text, err := c.app.run(ctx, "", "crontab", "-l")
	if err != nil && strings.Contains(err.Error(), "no crontab") {
		return "", nil
	}
	return text, err
}

func (c cron) write(ctx context.Context, text string) error {
	_, err := c.app.run(ctx, text, "crontab", "-")
	return err
}

func (c cron) add(ctx context.Context, j *job) error {
	units, err := c.units(j)
	if err != nil {
		return err
	}
	table, err := c.table(ctx)
	if err != nil {
		return err
	}
	with := cronWithout(table, j)
	if with != "" && !strings.HasSuffix(with, "\n") {
		with += "\n"
	}
	if with += units[0].text; with == table {
		return nil
	}
	return c.write(ctx, with)
}

func (c cron) remove(ctx context.Context, j *job) error {
	table, err := c.table(ctx)
	if err != nil {
		return err
	}
	without := cronWithout(table, j)
	if without == table {
		return fmt.Errorf("remove %s: its lines in the crontab are not as forg wrote them; remove them with \"crontab -e\"", j.name())
	}
	return c.write(ctx, without)
}

func (c cron) jobs(ctx context.Context, kind string) ([]*job, error) {
	table, err := c.table(ctx)
	var all []*job
	for line := range strings.Lines(table) {
		if j := marked(line); j != nil && j.Kind == kind && strings.HasPrefix(line, "# ") {
			all = append(all, j)
		}
	}
	return all, err
}

func (cron) hint(j *job) string {
	if j.stays() {
		return "It begins when the machine starts the next time. To begin now, run the command yourself."
	}
	return "cron sends what it prints, which is only what went wrong, by mail."
}

// cronWithout is a table without the lines of a job. All other lines stay as they are.
func cronWithout(table string, j *job) string {
	lines := slices.Collect(strings.Lines(table))
	for i := 0; i < len(lines); i++ {
		m := marked(lines[i])
		if m == nil || m.Kind != j.Kind || m.ID != j.ID || !strings.HasPrefix(lines[i], "# ") {
			continue
		}
		end := i + 2
		if end < len(lines) && strings.TrimRight(lines[end], "\n") == "# End of "+j.name() {
			lines = slices.Delete(lines, i, end+1)
			i--
		}
	}
	return strings.Join(lines, "")
}

var shellPlain = lazily(`^[A-Za-z0-9_./+@:,=-]+$`)

// cronCommand is a command for a crontab: words for sh, in which cron first makes \% a %. Some crons take away the
// backslash before another one, too; so no two of them follow each other here, and none stands before a %.
func cronCommand(argv []string) (string, error) {
	words := make([]string, len(argv))
	for i, w := range argv {
		if strings.ContainsAny(w, "\n\r\x00") {
			return "", fmt.Errorf("%q holds a line break, which a crontab cannot", w)
		}
		if shellPlain().MatchString(w) {
			words[i] = w
			continue
		}
		words[i] = "'" + strings.NewReplacer("'", `'\''`, "%", `'\%'`, `\`, `\''`).Replace(w) + "'"
	}
	line := strings.Join(words, " ")
	if len(line) > 900 { // of 999 in the strictest cron
		return "", errors.New("the command is too long for a crontab; put the flags into the configuration file")
	}
	return line, nil
}
