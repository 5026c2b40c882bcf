package metadata

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/zeebo/blake3"
)

// hashOf returns the hash of a whole file, in hex. A file that becomes longer or shorter meanwhile has none.
func hashOf(ctx context.Context, r io.ReaderAt, size int64, algorithm string) (string, error) {
	var h hash.Hash
	switch algorithm {
	case "blake3":
		h = blake3.New()
	case "sha256":
		h = sha256.New()
	case "sha1":
		h = sha1.New()
	case "md5":
		h = md5.New()
	}
	buf := make([]byte, min(size+1, 256<<10))
	for at := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := r.ReadAt(buf, at)
		h.Write(buf[:n])
		if at += int64(n); at > size || errors.Is(err, io.EOF) && at < size {
			return "", fmt.Errorf("%w: it changed while it was read", ErrDamaged)
		}
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}
