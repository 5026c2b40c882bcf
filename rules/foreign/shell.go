package foreign

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// builtins of shells that no program stands for.
var builtins = []string{
	".", ":", "[[", "!", "alias", "bg", "cd", "eval", "exec", "exit", "export", "fg", "for", "if", "read", "return", "set", "shift",
	"source", "time", "trap", "ulimit", "umask", "unset", "until", "wait", "while",
	"call", "copy", "del", "dir", "move", "rem", "start", // of cmd.exe
}

// argv takes a command line apart as a shell would, but for what needs a shell. Placeholders are in braces and may hold
// anything; they are a part of the argument in which they stand. What is left of a shell's own variables is returned as
// variable does.
func argv(line string, variable func(name string) string) ([]string, error) {
	var words []string
	var word strings.Builder
	started := false
	quote := byte(0)
	end := func() {
		if started {
			words = append(words, word.String())
		}
		word.Reset()
		started = false
	}
	for i := 0; i < len(line); i++ {
		c := line[i]
		if c == '{' {
			// A doubled one is a brace, which is that in argv's templates too.
			stop := placeholderEnd(line, i)
			if stop < 0 {
				return nil, errors.New("a brace is never closed")
			}
			word.WriteString(line[i:stop])
			started = true
			i = stop - 1
			continue
		}
		if c == '$' && quote != '\'' {
			name, length := variableAt(line[i:])
			if name == "" {
				return nil, fmt.Errorf("%q needs a shell", "$")
			}
			word.WriteString(variable(name))
			started = true
			i += length - 1
			continue
		}
		switch {
		case quote == '\'':
			if c == '\'' {
				quote = 0
			} else {
				word.WriteByte(c)
			}
		case quote == '"':
			switch {
			case c == '"':
				quote = 0
			case c == '`':
				return nil, fmt.Errorf("%q needs a shell", "`")
			case c == '\\' && i+1 < len(line) && strings.IndexByte("\"\\$`", line[i+1]) >= 0:
				i++
				word.WriteByte(line[i])
			default:
				word.WriteByte(c)
			}
		case c == '"' || c == '\'':
			quote, started = c, true
		case c == ' ' || c == '\t':
			end()
		case c == '\n':
			if strings.TrimSpace(line[i:]) != "" {
				return nil, errors.New("several lines need a shell")
			}
		case c == '\\' && i+1 < len(line):
			if i++; line[i] == '\n' {
				continue
			}
			word.WriteByte(line[i])
			started = true
		case strings.IndexByte("|&;<>()`*?[]", c) >= 0 || c == '#' && !started:
			return nil, fmt.Errorf("%q needs a shell", string(c))
		case c == '~' && !started:
			if i+1 < len(line) && line[i+1] != '/' && line[i+1] != ' ' {
				return nil, errors.New("~ with a name needs a shell")
			}
			word.WriteString(variable("HOME"))
			started = true
		case c == '=' && len(words) == 0 && started && identifier().MatchString(word.String()):
			return nil, errors.New("a variable for one program needs a shell")
		default:
			word.WriteByte(c)
			started = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is never closed")
	}
	end()
	switch {
	case len(words) == 0:
		return nil, errors.New("there is no program in it")
	case slices.Contains(words, ""):
		return nil, errors.New("an argument is empty")
	case slices.Contains(builtins, words[0]):
		return nil, fmt.Errorf("%q needs a shell", words[0])
	case strings.Contains(words[0], "{") && !strings.HasPrefix(words[0], "{env."):
		return nil, errors.New("which program runs must not depend on the file")
	}
	return words, nil
}

// placeholderEnd returns the place behind the placeholder, or the doubled brace, at i; -1 if it is never closed.
func placeholderEnd(s string, i int) int {
	if strings.HasPrefix(s[i:], "{{") {
		return i + 2
	}
	quote := byte(0)
	for j := i + 1; j < len(s); j++ {
		switch c := s[j]; {
		case quote != 0:
			if c == '\\' {
				j++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '}':
			return j + 1
		}
	}
	return -1
}

// variableAt reads $NAME or ${NAME} at the start of s.
func variableAt(s string) (name string, length int) {
	if strings.HasPrefix(s, "${") {
		end := strings.IndexByte(s, '}')
		if end < 0 || !identifier().MatchString(s[2:end]) {
			return "", 0
		}
		return s[2:end], end + 1
	}
	i := 1
	for i < len(s) && (s[i] == '_' || 'a' <= s[i] && s[i] <= 'z' || 'A' <= s[i] && s[i] <= 'Z' || i > 1 && '0' <= s[i] && s[i] <= '9') {
		i++
	}
	return s[1:i], i
}
