package cmd

import "forg/organizer"

func (d *duping) reviewDuplicates(found *organizer.Duplicates) (*organizer.Duplicates, error) {
	return found, nil
}
