package cmd

import (
	"context"

	"forg/sync/api"
)

// commandKeys sign what is asked of other devices of an account with end-to-end encryption, and check what this device is
// asked for. Without encryption nothing is signed, and verify is nil.
type commandKeys struct {
	sign   func(*api.Command) ([]byte, error)
	verify func(*api.Command) error
}

func (a *app) commandKeys(context.Context, *account) (commandKeys, error) {
	return commandKeys{sign: func(*api.Command) ([]byte, error) { return nil, nil }}, nil
}
