package archive

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// isTar reports whether b begins with the header of a tar's first entry. Old ones have no magic, but a checksum.
func isTar(b []byte) bool {
	if len(b) < 512 {
		return false
	}
	b = b[:512]
	want, err := strconv.ParseInt(strings.Trim(string(b[148:156]), " \x00"), 8, 64)
	if err != nil || want == 0 {
		return false
	}
	var unsigned, signed int64
	for i, c := range b {
		if 148 <= i && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return want == unsigned || want == signed
}

func (w *run) tar(r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return w.explain(err)
		}
		info := h.FileInfo()
		e := Entry{Name: h.Name, Size: h.Size, Mode: info.Mode(), ModTime: h.ModTime, Link: h.Linkname, IsDir: info.IsDir()}
		switch h.Typeflag {
		case tar.TypeSymlink:
			e.IsLink = true
		case tar.TypeLink:
			e.IsHardLink = true
		case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse, tar.TypeDir:
		case tar.TypeXGlobalHeader:
			continue // of no file
		case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		default:
			e.Mode |= fs.ModeIrregular
		}
		if h.Typeflag == tar.TypeCont {
			e.Mode &^= fs.ModeType
		}
		if err := w.entry(e, t); err != nil {
			return err
		}
	}
}
