package metadata

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// attribute gives nothing: Windows has no attributes of this kind.
func attribute(*os.File, string) ([]byte, error) { return nil, nil }

// zoneIdentifier reads the stream in which browsers note where a file came from. Only NTFS and ReFS have streams.
func zoneIdentifier(f *os.File) ([]byte, error) {
	z, err := os.Open(f.Name() + ":" + zoneStream)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, windows.ERROR_INVALID_NAME) || errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return io.ReadAll(io.LimitReader(z, zoneBytes))
}
