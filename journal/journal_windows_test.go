package journal

import (
	"errors"
	"os/exec"
)

func asNobody(*exec.Cmd, string) error { return errors.New("rights to folders work otherwise here") }
