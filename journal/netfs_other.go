//go:build !linux

package journal

// networkFS is not known here: SQLite's own locking is all there is.
func networkFS(string) string { return "" }
