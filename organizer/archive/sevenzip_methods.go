package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// Methods of 7z (Methods.txt of 7-Zip).
const (
	szCopy, szDelta, szX86New, szARM64, szLZMA2    = 0x00, 0x03, 0x04, 0x0a, 0x21
	szLZMA, szX86, szBCJ2, szARM, szDeflate, szBZ2 = 0x030101, 0x03030103, 0x0303011b, 0x03030501, 0x040108, 0x040202
	szZstd, szAES                                  = 0x04f71101, 0x06f10701
)

func (f *szFolderOf) encrypted() bool {
	for _, c := range f.coders {
		if c.method == szAES {
			return true
		}
	}
	return false
}

// unpack returns what the folder's coders make of its packed streams.
func (a *szArchive) unpack(source io.ReaderAt, f *szFolderOf) (io.Reader, error) {
	if f.encrypted() {
		return nil, ErrEncrypted
	}
	return a.outStream(source, f, f.main, len(f.coders))
}

func (a *szArchive) outStream(source io.ReaderAt, f *szFolderOf, out, depth int) (io.Reader, error) {
	if depth == 0 {
		return nil, errSevenZip // fed by itself
	}
	for _, c := range f.coders {
		if out < c.firstOut || out >= c.firstOut+c.out {
			continue
		}
		if c.out != 1 {
			return nil, ErrMethod
		}
		var ins []io.Reader
		for in := c.firstIn; in < c.firstIn+c.in; in++ {
			r, err := a.inStream(source, f, in, depth)
			if err != nil {
				return nil, err
			}
			ins = append(ins, r)
		}
		r, err := c.decode(ins, f.sizes[out])
		if err != nil {
			return nil, err
		}
		return io.LimitReader(r, f.sizes[out]), nil
	}
	return nil, errSevenZip
}

func (a *szArchive) inStream(source io.ReaderAt, f *szFolderOf, in, depth int) (io.Reader, error) {
	if out, ok := f.bound[in]; ok {
		return a.outStream(source, f, out, depth-1)
	}
	for i, p := range f.packed {
		if p == in {
			s := a.packed[f.firstPacked+i]
			return bufio.NewReaderSize(io.NewSectionReader(source, s.at, s.size), 32<<10), nil
		}
	}
	return nil, errSevenZip
}

func (c *szCoder) decode(in []io.Reader, size int64) (io.Reader, error) {
	if c.method == szBCJ2 && len(in) == 4 {
		return newBCJ2(in[0], in[1], in[2], in[3]), nil
	}
	if len(in) != 1 {
		return nil, ErrMethod
	}
	r := in[0]
	switch c.method {
	case szCopy:
		return r, nil
	case szLZMA:
		if len(c.properties) != 5 {
			return nil, errSevenZip
		}
		// A stream with a size and the properties in front is a file of the lzma format.
		head := binary.LittleEndian.AppendUint64(bytes.Clone(c.properties), uint64(size))
		dictionary := binary.LittleEndian.Uint32(head[1:])
		if int64(dictionary) > size {
			binary.LittleEndian.PutUint32(head[1:], uint32(min(max(size, lzma.MinDictCap), maxDictionary)))
		}
		z, err := (lzma.ReaderConfig{DictCap: maxDictionary}).NewReader(io.MultiReader(bytes.NewReader(head), r))
		var big *lzma.ErrDictSize
		if errors.As(err, &big) {
			err = fmt.Errorf("%w: it needs a dictionary of %d bytes", ErrLimit, big.HeaderDictSize)
		}
		return z, err
	case szLZMA2:
		return newLZMA2(r, c.properties, size)
	case szDeflate:
		return flate.NewReader(r), nil
	case szBZ2:
		return bzip2.NewReader(r), nil
	case szZstd:
		return newZstd(r)
	case szDelta:
		if len(c.properties) != 1 {
			return nil, errSevenZip
		}
		return newDelta(r, int(c.properties[0])+1), nil
	case szX86, szX86New:
		return newBranch(r, x86()), nil
	case szARM:
		return newBranch(r, arm), nil
	case szARM64:
		return newBranch(r, arm64), nil
	}
	return nil, ErrMethod
}
