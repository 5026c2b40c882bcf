package metadata

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	debugPanics = true
	m, _ := filepath.Glob(os.Getenv("ZZ"))
	r := NewReader(Limits{}, nil)
	for _, p := range m {
		f, _ := os.Open(p)
		st, _ := f.Stat()
		fmt.Println("==", filepath.Base(p), st.Size())
		for _, g := range []string{"exif", "image", "video", "audio", "text", "archive"} {
			start := time.Now()
			a := r.File(f).read(context.Background(), g)
			if a.err != nil || len(a.facts) > 0 {
				s := fmt.Sprint(a.facts)
				if len(s) > 300 {
					s = s[:300]
				}
				fmt.Printf("   %s: %q %v %v\n", g, s, a.err, time.Since(start).Round(time.Microsecond))
			}
		}
		f.Close()
	}
}
