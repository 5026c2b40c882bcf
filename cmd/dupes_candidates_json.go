package cmd

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// json reads objects with "groups" and objects that are groups themselves, which is what forg's JSON and NDJSON and
// fclones' JSON are.
func (p *reportParser) json(r io.Reader) error {
	d := json.NewDecoder(r)
	var last string // "type" of the last object, if it has one
	any := false
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return reportAt(d, err)
		}
		if t != json.Delim('{') {
			return reportAt(d, errors.New("there is something besides objects"))
		}
		known := false
		if last, known, err = p.object(d, true); err != nil {
			return reportAt(d, err)
		}
		any = any || known
	}
	switch {
	case !any:
		return errors.New("it has no groups of files")
	case last != "" && last != "summary":
		return errors.New("it ends before its summary: the rest is missing")
	}
	return nil
}

// reportAt says where in a JSON text something is wrong.
func reportAt(d *json.Decoder, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errors.New("it ends in the middle: the rest is missing")
	}
	return fmt.Errorf("at byte %d: %w", d.InputOffset(), err)
}

// object reads an object after its brace: a whole report or a line of NDJSON at the top, else a group. It returns its
// "type" and whether it is an object that a report has.
func (p *reportParser) object(d *json.Decoder, top bool) (kind string, known bool, err error) {
	from, group, size := len(p.found.files), int32(-1), int64(-1)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return "", false, err
		}
		switch {
		case key == "type":
			if kind, err = p.word(d); err != nil {
				return "", false, err
			}
			known = known || kind != ""
		case key == "groups" && top:
			known = true
			err = p.each(d, func(t json.Token) error {
				if t != json.Delim('{') {
					return errors.New("a group is no object")
				}
				_, _, err := p.object(d, false)
				return err
			})
		case key == "size" || key == "file_len":
			size, err = p.number(d)
		case key == "files":
			known = true
			err = p.each(d, func(t json.Token) error {
				if group < 0 {
					group = p.begin()
				}
				return p.file(d, group, t)
			})
		default:
			err = p.skip(d)
		}
		if err != nil {
			return "", false, err
		}
	}
	for i := from; group >= 0 && i < len(p.found.files); i++ {
		p.found.files[i].size = size
	}
	_, err = d.Token() // its closing brace
	return kind, known, err
}

// each calls f with the first token of each element of an array; something else than an array is skipped.
func (p *reportParser) each(d *json.Decoder, f func(json.Token) error) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('[') {
		return p.skipFrom(d, t)
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		if err := f(t); err != nil {
			return err
		}
		p.more()
	}
	_, err = d.Token()
	return err
}

// file reads a file of a group: a string as fclones has it, or an object as forg has it.
func (p *reportParser) file(d *json.Decoder, group int32, t json.Token) error {
	if s, ok := t.(string); ok {
		path, err := unSTFU8(s)
		if err != nil {
			return fmt.Errorf("the name %q: %w", s, err)
		}
		return p.add(group, path, len(p.found.files) == 0 || p.found.files[len(p.found.files)-1].group != group, -1)
	}
	if t != json.Delim('{') {
		return errors.New("a file is neither text nor an object")
	}
	var path string
	var exact []byte
	keep := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch key {
		case "path":
			path, err = p.word(d)
		case "path_bytes":
			var text string
			if text, err = p.word(d); err == nil {
				exact, err = base64.StdEncoding.DecodeString(text)
			}
		case "keep":
			var t json.Token
			if t, err = d.Token(); err == nil {
				if b, ok := t.(bool); ok {
					keep = b
				} else {
					err = p.skipFrom(d, t)
				}
			}
		default:
			err = p.skip(d)
		}
		if err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if exact != nil {
		path = string(exact)
	}
	return p.add(group, path, keep, -1)
}

// word reads a string; something else is skipped and is "".
func (p *reportParser) word(d *json.Decoder) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", err
	}
	if s, ok := t.(string); ok {
		return s, nil
	}
	return "", p.skipFrom(d, t)
}

// number reads a number of bytes; something else is skipped and is -1.
func (p *reportParser) number(d *json.Decoder) (int64, error) {
	t, err := d.Token()
	if err != nil {
		return -1, err
	}
	if f, ok := t.(float64); ok && f >= 0 && f <= 1<<53 && f == float64(int64(f)) {
		return int64(f), nil
	}
	return -1, p.skipFrom(d, t)
}

func (p *reportParser) skip(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	return p.skipFrom(d, t)
}

// skipFrom reads on to the end of the value that begins with t.
func (p *reportParser) skipFrom(d *json.Decoder, t json.Token) error {
	for depth := 0; ; {
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		if depth > maxCandidateNest {
			return fmt.Errorf("values are nested more than %d deep", maxCandidateNest)
		}
		p.more()
		var err error
		if t, err = d.Token(); err != nil {
			return err
		}
	}
}
