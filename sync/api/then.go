package api

// Then is what a client is to do after a problem.
type Then uint8

// What a client does. Syncing goes on in all cases but Stop and Revoked; none of them concerns what forg does with files.
const (
	Stop         Then = iota // tell, and sync no more until the user or a new version does something
	Again                    // after a pause that grows; RetryAfter of the problem is a lower bound
	AgainLater               // the same, but tell, and begin with a long pause
	Tell                     // this one thing cannot be done; whoever asked for it is told why
	LookAgain                // what was asked about has changed meanwhile
	GoOn                     // push what follows AckedSeq of the problem
	NewEpoch                 // two write the same log: begin a new epoch, and tell
	Revoked                  // stop, tell, and forget the credentials
	ForgetIt                 // the command is somebody else's; its result is in the log
	FromZero                 // drop what was pulled and begin again after 0
	Halve                    // push half as much; a single entry that is too large is a bug
	Uncompressed             // the same again without compression
	Park                     // keep the push, tell which field is wrong, and send it again only when something has changed
	Reseal                   // make the push anew, sealed with the account's keys; without them stop and tell
	Speak                    // use one of Protocols of the problem; if there is none in common, stop and say which side is too old
)

var thens = map[Code]Then{
	CodeMalformed:        Stop,
	CodeUnauthenticated:  Stop, // once a refresh has not helped
	CodeQuota:            Stop,
	CodeForbidden:        Stop,
	CodeNotFound:         Stop,
	CodeMethod:           Stop,
	CodeTimeout:          Again,
	CodeConflict:         LookAgain,
	CodeEmailTaken:       Tell,
	CodeGap:              GoOn,
	CodeFork:             NewEpoch,
	CodeNotUndoable:      Tell,
	CodeCommandOpen:      Tell,
	CodeDeviceRevoked:    Revoked,
	CodeLeaseLost:        ForgetIt,
	CodeKeyReused:        Tell,
	CodeEpochRetired:     NewEpoch,
	CodeCursorExpired:    FromZero,
	CodeTooLarge:         Halve,
	CodeUnsupportedMedia: Uncompressed,
	CodeInvalid:          Park,
	CodeNotSealed:        Reseal,
	CodeProtocol:         Speak,
	CodeRateLimited:      Again,
	CodeInternal:         Again,
	CodeBusy:             Again,
	CodeUnavailable:      Again,
	CodeStorageFull:      AgainLater,
}

// Then is what the table of errors in PROTOCOL.md tells a client to do. A code that this version does not know is handled
// by its status: 408, 429 and 5xx again, everything else stop.
func (p *Problem) Then() Then {
	if t, ok := thens[p.Code]; ok {
		return t
	}
	if p.Status == 408 || p.Status == 429 || p.Status >= 500 {
		return Again
	}
	return Stop
}

// Bug reports whether the problem can only come of a mistake in one of the two programs, so that its user should be asked to
// report it.
func (p *Problem) Bug() bool {
	switch p.Code {
	case CodeMalformed, CodeMethod, CodeKeyReused, CodeInvalid:
		return true
	}
	return false
}
