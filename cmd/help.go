package cmd

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// help is a long help text with its exit status.
func help(text, status string) string { return text + "\n\n" + strings.TrimRight(status, "\n") }

// printHelp prints the help of a command as cobra does, but so that it fits the terminal.
func (a *app) printHelp(c *cobra.Command, _ []string) {
	text := strings.TrimRight(cmp.Or(c.Long, c.Short), " \n") + "\n\n" + c.UsageString()
	fmt.Fprint(c.OutOrStdout(), narrow(text, a.columns()))
}

const (
	// helpFull is how long a line of a help text is at least of which the sentence goes on in the next line.
	helpFull = 90
	// helpColumn is how many cells a second column must have, such as the one that says what a flag does.
	helpColumn = 24
	// helpFlag is how far what a flag does is indented below it.
	helpFlag = 10
)

// narrow breaks a help text for a terminal of width cells; 0 leaves it as it is. Paragraphs are filled anew; a line with two
// columns keeps them, or has the second one below the first; other lines, which are commands, stay whole.
func narrow(text string, width int) string {
	if width <= 0 {
		return text
	}
	width = max(width, 2*helpColumn)
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for len(lines) > 0 {
		line := lines[0]
		lines = lines[1:]
		if !strings.HasPrefix(line, " ") {
			for last := line; len(lines) > 0 && utf8.RuneCountInString(last) > helpFull && lines[0] != "" && lines[0][0] != ' '; lines = lines[1:] {
				last = lines[0]
				line += " " + last
			}
			fill(&out, "", line, width)
			continue
		}
		first := len(line) - len(strings.TrimLeft(line, " "))
		gap := strings.LastIndex(strings.TrimRight(line, " "), "  ")
		switch second := gap + 2; {
		case utf8.RuneCountInString(line) <= width || gap < first:
			out.WriteString(line + "\n")
		case width-second >= helpColumn:
			fill(&out, line[:second], line[second:], width)
		default:
			out.WriteString(strings.TrimRight(line[:second], " ") + "\n")
			indent := first + 4
			if line[first] == '-' { // with or without a letter
				indent = helpFlag
			}
			fill(&out, strings.Repeat(" ", indent), line[second:], width)
		}
	}
	return out.String()
}
