package server

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"forg/sync/server/auth"
)

// serveForTest is the program that tests start as another process, to be killed: it prints its address.
func serveForTest(text string) {
	var cfg struct {
		DataDir, DatabaseURL string
		Role                 Role
	}
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		panic(err)
	}
	err := Run(context.Background(), Config{Addr: "127.0.0.1:0", DataDir: cfg.DataDir, DatabaseURL: cfg.DatabaseURL, Role: cfg.Role, Signup: true,
		Passwords: auth.PasswordOptions{Cost: 4}, Log: os.Stderr, Listening: func(url string) { fmt.Println(url) }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
