//go:build !linux

package organizer

import "io"

// head reads the beginning of a file whose name ends in NUL.
func (h *scanHandle) head(name []byte, buf []byte) (int, error) {
	f, err := h.open(string(name[:len(name)-1]))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}
