//go:build !windows

package auth

const privateModes = true
