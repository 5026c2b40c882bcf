package store

func pusher(string) {}
