// Package auth decides who may: it hashes and checks passwords, issues and reads access tokens, refresh tokens and API
// keys. It knows no database and no HTTP; what it decides about a row it decides from the row alone.
package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what people choose.
const (
	MinPassword = 8    // characters
	MaxPassword = 1024 // bytes, by any method; bcrypt takes 72
	MaxEmail    = 254  // bytes (RFC 5321)
)

// NormalEmail is the one form of an e-mail address that accounts are known by: without spaces around it, in lower
// case. The error says what is wrong with an address, in words for whoever typed it.
//
// Mail must only ever be sent to an address as it was registered, never as it was typed later.
func NormalEmail(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", errors.New("the e-mail address is empty")
	case len(s) > MaxEmail:
		return "", fmt.Errorf("the e-mail address is longer than %d bytes", MaxEmail)
	case !utf8.ValidString(s):
		return "", errors.New("the e-mail address is not valid UTF-8")
	}
	for _, r := range s {
		if unicode.IsSpace(r) || !unicode.IsGraphic(r) {
			return "", errors.New("the e-mail address has a space or an invisible character in it")
		}
		// The Kelvin sign is a k in lower case: two addresses would be one account.
		if r >= utf8.RuneSelf && unicode.ToLower(r) < utf8.RuneSelf {
			return "", fmt.Errorf("the e-mail address has a letter in it that looks like another: %q", r)
		}
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Name != "" || a.Address != s {
		return "", errors.New("this is not an e-mail address of the form name@example.org")
	}
	local, domain, _ := strings.Cut(s, "@")
	if len(local) > 64 || strings.ContainsAny(s, `"()<>,;:\[]`) || strings.Count(s, "@") != 1 ||
		!strings.Contains(strings.Trim(domain, "."), ".") && domain != "localhost" || strings.HasSuffix(domain, ".") {
		return "", errors.New("this is not an e-mail address of the form name@example.org")
	}
	return strings.ToLower(s), nil
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// random62 is n random digits of base 62, all equally likely.
func random62(n int) string {
	out := make([]byte, 0, n)
	var b [64]byte
	for len(out) < n {
		rand.Read(b[:]) // never fails
		for _, v := range b {
			if v < 62*4 && len(out) < n { // 248 is the last multiple of 62 that a byte can reach
				out = append(out, base62[v%62])
			}
		}
	}
	return string(out)
}
