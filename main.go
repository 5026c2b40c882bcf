// Command forg puts files where they belong and can always put them back.
package main

import (
	"os"

	"forg/cmd"
)

func main() { os.Exit(cmd.Main()) }
