package organizer

func dateAdded(path string) (any, error) { return nil, nil }
