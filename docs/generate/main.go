// Command generate writes forg's manual pages and shell completions, made from the commands themselves, so that they
// cannot say anything else than --help does. They are not kept in the repository: they take a second to make and would
// only ever differ from the commands by mistake.
//
//	go run ./docs/generate OUTDIR
//
// writes OUTDIR/man1/*.1 and OUTDIR/completions/{forg.bash,_forg,forg.fish,forg.ps1}. The same forg gives the same
// bytes: pages carry the date in SOURCE_DATE_EPOCH (Unix time in seconds), or none.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"forg/cmd"
)

func main() {
	if len(os.Args) != 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: go run ./docs/generate OUTDIR")
		os.Exit(2)
	}
	date, err := sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
	if err == nil {
		err = generate(os.Args[1], date)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// sourceDate is the date of the pages: zero when epoch is empty.
func sourceDate(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(n, 0).UTC(), nil
}

func generate(dir string, date time.Time) error {
	root := cmd.Root()
	man := filepath.Join(dir, "man1")
	if err := os.MkdirAll(man, 0o777); err != nil {
		return err
	}
	for _, c := range commands(root) {
		page, err := manPage(c, date)
		if err != nil {
			return fmt.Errorf("page of %s: %w", c.CommandPath(), err)
		}
		if err := os.WriteFile(filepath.Join(man, pageName(c)+".1"), page, 0o666); err != nil {
			return err
		}
	}
	shells := filepath.Join(dir, "completions")
	return errors.Join(
		os.MkdirAll(shells, 0o777),
		root.GenBashCompletionFileV2(filepath.Join(shells, "forg.bash"), true),
		root.GenZshCompletionFile(filepath.Join(shells, "_forg")),
		root.GenFishCompletionFile(filepath.Join(shells, "forg.fish"), true),
		root.GenPowerShellCompletionFileWithDesc(filepath.Join(shells, "forg.ps1")),
	)
}

// commands are c and all below it that a person can call.
func commands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			all = append(all, commands(sub)...)
		}
	}
	return all
}

var exitLine = regexp.MustCompile(`(?m)^  (\d+) +(.*)$`)

// manPage is the page of one command, in the sections that man-pages(7) names. Cobra has a maker of such pages, but it
// takes help texts for Markdown, prints "--quiet[=false]", drops the words a flag may have, and would bring two more
// modules; roff is not hard.
func manPage(c *cobra.Command, date time.Time) ([]byte, error) {
	text, status, ok := strings.Cut(c.Long, "\n\nEXIT STATUS\n")
	if !ok {
		return nil, errors.New("its help tells no exit status")
	}
	if c.Example == "" {
		return nil, errors.New("its help has no example")
	}
	var b strings.Builder
	name, day := pageName(c), ""
	if !date.IsZero() {
		day = date.Format(time.DateOnly)
	}
	fmt.Fprintf(&b, ".TH %s 1 %q forg \"forg manual\"\n", strings.ToUpper(name), day)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(c.Short))
	use := c.UseLine()
	if c.HasAvailableSubCommands() {
		use = c.CommandPath() + " COMMAND"
		if c.Parent() != nil {
			use = c.UseLine() + "\n.br\n.B " + use // it does something by itself, too
		}
	}
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.SH DESCRIPTION\n%s\n", strings.ReplaceAll(use, "-", `\-`), paragraphs(text))
	var related []string
	if c.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range commands(c)[1:] {
			if sub.Parent() == c {
				fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(sub.Name()), roff(sub.Short))
				related = append(related, pageName(sub))
			}
		}
	}
	options(&b, "OPTIONS", c.NonInheritedFlags())
	options(&b, "OPTIONS OF EVERY COMMAND", c.InheritedFlags())
	b.WriteString(".SH EXIT STATUS\n")
	for _, m := range exitLine.FindAllStringSubmatch(status, -1) {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", m[1], roff(m[2]))
	}
	fmt.Fprintf(&b, ".SH EXAMPLES\n.EX\n%s\n.EE\n", paragraphs(c.Example))
	if c.HasParent() {
		related = append(related, pageName(c.Parent()))
	}
	b.WriteString(".SH SEE ALSO\n")
	for i, r := range related {
		comma := ","
		if i == len(related)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, ".BR %s (1)%s\n", roff(r), comma)
	}
	return []byte(b.String()), nil
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// options lists flags as --help does: with the word for their value, and their default if it says something.
func options(b *strings.Builder, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		term := `\fB\-\-` + roff(f.Name) + `\fP`
		if f.Shorthand != "" {
			term = `\fB\-` + f.Shorthand + `\fP, ` + term
		}
		if value != "" {
			term += ` \fI` + roff(value) + `\fP`
		}
		switch d := strings.Trim(f.DefValue, "[]"); d {
		case "", "false", "0", "0s":
		default:
			text += fmt.Sprintf(" (default %s)", d)
		}
		fmt.Fprintf(b, ".TP\n%s\n%s\n", term, roff(text))
	})
}

// paragraphs is text of several lines.
func paragraphs(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range lines {
		if lines[i] = roff(l); l == "" {
			lines[i] = ".PP"
		}
	}
	return strings.Join(lines, "\n")
}

// roff keeps one line of plain text what it is in a manual page.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}
