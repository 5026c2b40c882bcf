package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/nwaples/rardecode/v2"
)

// Kinds of links in RAR 5 (FHEXTRA_REDIR).
const (
	rarSymlink  = 1
	rarWindows  = 2
	rarJunction = 3
	rarHardLink = 4
	rarCopy     = 5
)

func (w *run) rar() error {
	r, err := rardecode.NewReader(io.NewSectionReader(w.source, 0, w.size), rardecode.MaxDictionarySize(maxDictionary))
	if err != nil {
		return w.explain(rarError(err))
	}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return w.explain(rarError(err))
		}
		e := Entry{
			Name: h.Name, Size: h.UnPackedSize, Mode: h.Mode(), ModTime: h.ModificationTime, IsDir: h.IsDir,
			Link: h.LinkTarget, Encrypted: h.Encrypted,
		}
		if h.UnKnownSize {
			e.Size = -1
		}
		switch h.LinkType {
		case rarSymlink, rarWindows, rarJunction:
			e.IsLink, e.IsDir = true, false
		case rarHardLink, rarCopy: // a copy of another entry's content can be a hard link as well
			e.IsHardLink = true
		default:
			if e.Mode&fs.ModeSymlink != 0 { // RAR 4 keeps the target as content
				target, err := io.ReadAll(io.LimitReader(&capped{run: w, r: rarReader{r, h.Encrypted}, left: &w.content}, maxLink+1))
				if err != nil && !errors.Is(err, ErrEncrypted) {
					return err
				}
				if len(target) > maxLink {
					return fmt.Errorf("%w: the target of a link is too long", ErrLimit)
				}
				e.IsLink, e.Link = true, string(target)
			}
		}
		if err := w.entry(e, rarReader{r, h.Encrypted}); err != nil {
			return err
		}
	}
}

type rarReader struct {
	r         io.Reader
	encrypted bool
}

func (r rarReader) Read(p []byte) (int, error) {
	if r.encrypted {
		return 0, ErrEncrypted
	}
	n, err := r.r.Read(p)
	return n, rarError(err)
}

func rarError(err error) error {
	switch {
	case errors.Is(err, rardecode.ErrArchiveEncrypted), errors.Is(err, rardecode.ErrArchivedFileEncrypted):
		return ErrEncrypted
	case errors.Is(err, rardecode.ErrDictionaryTooLarge):
		return fmt.Errorf("%w: %w", ErrLimit, err)
	case errors.Is(err, rardecode.ErrMultiVolume):
		return fmt.Errorf("%w: it is a part of several: %w", ErrMethod, err)
	}
	return err
}
