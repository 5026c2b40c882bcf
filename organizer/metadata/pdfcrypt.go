package metadata

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/rc4"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"io"
)

// pdfCrypt decrypts a file that opens without a password: many that may not be printed or changed are encrypted all the
// same (ISO 32000-2, 7.6). Only streams are: no string outside of one is part of the text.
type pdfCrypt struct {
	key           []byte
	aes           bool // by AES, else by RC4
	whole         bool // version 5: the key is not mixed with the object's number
	plain         bool // the filter is Identity
	plainMetadata bool
}

var pdfPadding = []byte("\x28\xbf\x4e\x5e\x4e\x75\x8a\x41\x64\x00\x4e\x56\xff\xfa\x01\x08\x2e\x2e\x00\xb6\xd0\x68\x3e\x80\x2f\x0c\xa9\xfe\x64\x53\x69\x7a")

func newPDFCrypt(p *pdfFile) (*pdfCrypt, error) {
	d := p.dict(p.trailer["Encrypt"])
	if d == nil {
		return nil, errPDF
	}
	if p.object(d["Filter"]) != pdfName("Standard") {
		return nil, ErrEncrypted
	}
	c := &pdfCrypt{}
	version, revision := int(p.number(d["V"], 0)), int(p.number(d["R"], 0))
	owner, _ := p.object(d["O"]).(string)
	user, _ := p.object(d["U"]).(string)
	permissions := uint32(int64(p.number(d["P"], 0)))
	bits := int(p.number(d["Length"], 40))
	if v, ok := p.object(d["EncryptMetadata"]).(bool); ok && !v {
		c.plainMetadata = true
	}
	if version >= 4 {
		name, _ := p.object(d["StmF"]).(pdfName)
		if name == "" || name == "Identity" {
			c.plain = true
		}
		filter := p.dict(p.dict(d["CF"])[name])
		switch p.object(filter["CFM"]) {
		case pdfName("AESV2"), pdfName("AESV3"):
			c.aes = true
		case pdfName("None"):
			c.plain = true
		}
		bits = 128
	}
	if version == 1 {
		bits = 40
	}
	switch {
	case version == 5 && (revision == 5 || revision == 6):
		c.whole = true
		encrypted, _ := p.object(d["UE"]).(string)
		var err error
		c.key, err = pdfLongKey(user, encrypted, revision)
		return c, err
	case version < 1 || version > 4 || bits < 40 || bits > 128 || len(owner) < 32 || len(user) < 32:
		return nil, ErrUnsupported
	}
	n := bits / 8
	ids := p.array(p.trailer["ID"])
	id := ""
	if len(ids) > 0 {
		id, _ = p.object(ids[0]).(string)
	}
	h := md5.New()
	h.Write(pdfPadding)
	io.WriteString(h, owner[:32])
	h.Write(binary.LittleEndian.AppendUint32(nil, permissions))
	io.WriteString(h, id)
	if revision >= 4 && c.plainMetadata {
		h.Write([]byte{0xff, 0xff, 0xff, 0xff})
	}
	key := h.Sum(nil)
	if revision >= 3 {
		for range 50 {
			sum := md5.Sum(key[:n])
			key = sum[:]
		}
	}
	c.key = key[:n]
	return c, c.tryKey(user, id, revision)
}

// pdfLongKey is the key of 256 bits, which the file keeps encrypted, if it needs no password.
func pdfLongKey(user, encrypted string, revision int) ([]byte, error) {
	if len(user) < 48 || len(encrypted) < 32 {
		return nil, errPDF
	}
	hash := func(salt string) []byte {
		if revision == 5 {
			sum := sha256.Sum256([]byte(salt))
			return sum[:]
		}
		return pdfHash([]byte(salt))
	}
	if !bytes.Equal(hash(user[32:40]), []byte(user[:32])) {
		return nil, ErrEncrypted
	}
	block, err := aes.NewCipher(hash(user[40:48]))
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	cipher.NewCBCDecrypter(block, make([]byte, 16)).CryptBlocks(key, []byte(encrypted[:32]))
	return key, nil
}

// tryKey makes sure that the key makes what the file keeps of the password.
func (c *pdfCrypt) tryKey(user, id string, revision int) error {
	check := make([]byte, 32)
	if revision == 2 {
		crypt, err := rc4.NewCipher(c.key)
		if err != nil {
			return err
		}
		crypt.XORKeyStream(check, pdfPadding)
		if string(check) != user[:32] {
			return ErrEncrypted
		}
		return nil
	}
	sum := md5.Sum(append(bytes.Clone(pdfPadding), id...))
	check = sum[:]
	for i := range 20 {
		turned := bytes.Clone(c.key)
		for j := range turned {
			turned[j] ^= byte(i)
		}
		crypt, err := rc4.NewCipher(turned)
		if err != nil {
			return err
		}
		crypt.XORKeyStream(check, check)
	}
	if string(check) != user[:16] {
		return ErrEncrypted
	}
	return nil
}

// pdfHash is algorithm 2.B, with an empty password.
func pdfHash(salt []byte) []byte {
	sum := sha256.Sum256(salt)
	k := sum[:]
	for i := 0; ; i++ {
		data := bytes.Repeat(k, 64)
		block, err := aes.NewCipher(k[:16])
		if err != nil {
			return nil
		}
		cipher.NewCBCEncrypter(block, k[16:32]).CryptBlocks(data, data)
		rest := 0
		for _, c := range data[:16] {
			rest += int(c)
		}
		switch rest % 3 {
		case 0:
			s := sha256.Sum256(data)
			k = s[:]
		case 1:
			s := sha512.Sum384(data)
			k = s[:]
		case 2:
			s := sha512.Sum512(data)
			k = s[:]
		}
		if i >= 63 && int(data[len(data)-1]) <= i-32 {
			return k[:32]
		}
	}
}

// keyOf is the key for an object.
func (c *pdfCrypt) keyOf(ref pdfRef) []byte {
	if c.whole {
		return c.key
	}
	b := append(bytes.Clone(c.key), byte(ref.n), byte(ref.n>>8), byte(ref.n>>16), byte(ref.gen), byte(ref.gen>>8))
	if c.aes {
		b = append(b, "sAlT"...)
	}
	sum := md5.Sum(b)
	return sum[:min(len(c.key)+5, 16)]
}

func (c *pdfCrypt) stream(r io.Reader, length int64, st *pdfStream) (io.Reader, error) {
	if c.plain || c.plainMetadata && st.dict["Type"] == pdfName("Metadata") {
		return r, nil
	}
	key := c.keyOf(st.ref)
	if !c.aes {
		crypt, err := rc4.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.StreamReader{S: crypt, R: r}, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	iv := make([]byte, aes.BlockSize)
	if _, err := io.ReadFull(r, iv); err != nil {
		return bytes.NewReader(nil), nil
	}
	return &cbcReader{r: r, mode: cipher.NewCBCDecrypter(block, iv)}, nil
}

// cbcReader decrypts block by block. The padding of the last stays: what unpacks the stream ends before it.
type cbcReader struct {
	r    io.Reader
	mode cipher.BlockMode
	buf  [4096]byte
	left []byte
}

func (c *cbcReader) Read(b []byte) (int, error) {
	if len(c.left) == 0 {
		n, err := io.ReadFull(c.r, c.buf[:])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, err
		}
		n -= n % aes.BlockSize
		if n == 0 {
			return 0, io.EOF
		}
		c.mode.CryptBlocks(c.buf[:n], c.buf[:n])
		c.left = c.buf[:n]
	}
	n := copy(b, c.left)
	c.left = c.left[n:]
	return n, nil
}
