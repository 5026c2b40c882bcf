//go:build !linux

package cmd

// tellService has nobody to tell: systemd runs on Linux alone.
func (a *app) tellService() (ending func()) { return func() {} }
