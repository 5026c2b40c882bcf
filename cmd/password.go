package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// readPassword takes a password from the terminal, unseen, or from standard input up to the end of its first line.
func (a *app) readPassword(ctx context.Context) (string, error) {
	if a.inTTY {
		return a.typedPassword(ctx, "Password: ")
	}
	return a.passwordLine()
}

// passwordLine takes a password from the first line of standard input.
func (a *app) passwordLine() (string, error) {
	b, err := io.ReadAll(io.LimitReader(a.in, 4096))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", usage("no password was given on standard input")
	}
	return line, nil
}

// typedPassword asks for a password without showing it. When ctx ends the terminal shows again what is typed.
func (a *app) typedPassword(ctx context.Context, question string) (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	fmt.Fprint(a.err, question)
	type typed struct {
		text []byte
		err  error
	}
	done := make(chan typed, 1)
	go func() {
		b, err := term.ReadPassword(fd)
		done <- typed{b, err}
	}()
	select {
	case t := <-done:
		fmt.Fprintln(a.err)
		if t.err != nil {
			return "", fmt.Errorf("read the password: %w", t.err)
		}
		return string(t.text), nil
	case <-ctx.Done():
		_ = term.Restore(fd, before) // the program ends, and the terminal stays
		fmt.Fprintln(a.err)
		return "", ctx.Err()
	}
}

// typedLine asks for something that may be seen.
func (a *app) typedLine(ctx context.Context, question string) (string, error) {
	fmt.Fprint(a.err, question)
	type typed struct {
		text string
		err  error
	}
	done := make(chan typed, 1)
	go func() {
		var line strings.Builder
		b := make([]byte, 1) // byte by byte: what follows the line is the answer to the next question
		for {
			n, err := a.in.Read(b)
			switch {
			case n == 1 && b[0] == '\n', err == io.EOF && line.Len() > 0:
				done <- typed{text: strings.TrimSpace(line.String())}
				return
			case err != nil:
				done <- typed{err: err}
				return
			case n == 1 && line.Len() < 4096:
				line.WriteByte(b[0])
			}
		}
	}()
	select {
	case t := <-done:
		return t.text, t.err
	case <-ctx.Done():
		fmt.Fprintln(a.err)
		return "", ctx.Err()
	}
}
