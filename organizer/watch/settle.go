package watch

import "time"

// settling knows when a folder has settled, from when it changed.
type settling struct {
	quiet, longest time.Duration
	first, last    time.Time // changes since it last settled; zero without
	later          time.Time // when it settles at the latest, changed or not; zero for never
}

func (s *settling) change(now time.Time) {
	if s.first.IsZero() {
		s.first = now
	}
	s.last = now
}

func (s *settling) again(at time.Time) {
	if s.later.IsZero() || at.Before(s.later) {
		s.later = at
	}
}

// due is when the folder will have settled if nothing more happens; false if there is nothing to settle.
func (s *settling) due() (time.Time, bool) {
	if s.first.IsZero() {
		return s.later, !s.later.IsZero()
	}
	// What is to be done later waits for what is coming now: both are one batch then.
	at := s.last.Add(s.quiet)
	if end := s.first.Add(s.longest); end.Before(at) {
		at = end
	}
	return at, true
}

// overdue reports whether a burst has put it off for as long as it may.
func (s *settling) overdue(now time.Time) bool {
	return !s.first.IsZero() && !now.Before(s.first.Add(s.longest))
}

// settled begins anew. It returns when the changes began.
func (s *settling) settled() time.Time {
	first := s.first
	s.first, s.last, s.later = time.Time{}, time.Time{}, time.Time{}
	return first
}
