package organizer

func readLink(path string) (string, error)                    { return "", nil }
func dateAdded(path string) (any, error)                      { return nil, nil }
func TagChange(path string, old, new []string) ([]byte, error) { return nil, nil }
