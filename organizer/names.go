package organizer

import (
	"strings"
	"unsafe"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"forg/rules"
)

// foldCase is what names have in common that differ only in case, as file systems that ignore case see it.
func foldCase(name string) string {
	ascii := true
	for i := range len(name) {
		ascii = ascii && name[i] < 0x80
	}
	if ascii {
		return strings.ToLower(name)
	}
	return cases.Fold().String(name)
}

// composed is what names have in common that differ only in how accents are composed.
func composed(name string) string { return norm.NFC.String(name) }

func splitName(name string) (stem, ext string) { return rules.Builtin().Split(name) }

func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
