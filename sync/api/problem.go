package api

import "fmt"

// Code names a problem for programs. It is the last part of Problem.Type.
type Code string

// The codes.
const (
	CodeMalformed        Code = "malformed"            // no JSON, or not of the right form
	CodeUnauthenticated  Code = "unauthenticated"      // credentials are missing, wrong, expired or revoked
	CodeQuota            Code = "quota"                // the subscription does not cover it
	CodeForbidden        Code = "forbidden"            // the credentials lack the scope
	CodeNotFound         Code = "not_found"            // does not exist, or is another user's
	CodeMethod           Code = "method_not_allowed"   //
	CodeTimeout          Code = "timeout"              // the request came too slowly
	CodeConflict         Code = "conflict"             //
	CodeEmailTaken       Code = "email_taken"          //
	CodeGap              Code = "gap"                  // Problem.AckedSeq
	CodeFork             Code = "fork"                 // Problem.Seq
	CodeNotUndoable      Code = "not_undoable"         // is running, was undone already, or never moved anything
	CodeCommandOpen      Code = "command_open"         // another command on the operation is not finished
	CodeDeviceRevoked    Code = "device_revoked"       //
	CodeLeaseLost        Code = "lease_lost"           // the command was given to somebody else, or is final
	CodeKeyReused        Code = "idempotency_key_used" // with another request
	CodeEpochRetired     Code = "epoch_retired"        // a newer epoch of the device has taken its place
	CodeCursorExpired    Code = "cursor_expired"       // begin again after 0
	CodeTooLarge         Code = "too_large"            // Problem.MaxBytes
	CodeUnsupportedMedia Code = "unsupported_media"    // content type or encoding
	CodeInvalid          Code = "invalid"              // Problem.Errors
	CodeNotSealed        Code = "not_sealed"           // the account is encrypted; Problem.Errors
	CodeProtocol         Code = "protocol"             // speak one of Problem.Protocols
	CodeRateLimited      Code = "rate_limited"         // Problem.RetryAfter
	CodeInternal         Code = "internal"             //
	CodeBusy             Code = "busy"                 // Problem.RetryAfter
	CodeUnavailable      Code = "unavailable"          // starting, draining, or the database is away; Problem.RetryAfter
	CodeStorageFull      Code = "storage_full"         // of the server
)

type problemKind struct {
	status int
	title  string
}

var problemKinds = map[Code]problemKind{
	CodeMalformed:        {400, "The request cannot be read"},
	CodeUnauthenticated:  {401, "Not authenticated"},
	CodeQuota:            {402, "The quota is used up"},
	CodeForbidden:        {403, "The credentials do not allow this"},
	CodeNotFound:         {404, "Not found"},
	CodeMethod:           {405, "Method not allowed"},
	CodeTimeout:          {408, "The request took too long"},
	CodeConflict:         {409, "Conflict"},
	CodeEmailTaken:       {409, "The e-mail address is taken"},
	CodeGap:              {409, "Entries are missing"},
	CodeFork:             {409, "The log differs from the one that is known"},
	CodeNotUndoable:      {409, "The operation cannot be undone"},
	CodeCommandOpen:      {409, "Another command is not finished"},
	CodeDeviceRevoked:    {409, "The device was revoked"},
	CodeLeaseLost:        {409, "The lease is lost"},
	CodeKeyReused:        {409, "The idempotency key was used for another request"},
	CodeEpochRetired:     {410, "The epoch is retired"},
	CodeCursorExpired:    {410, "The cursor is too old"},
	CodeTooLarge:         {413, "The request is too large"},
	CodeUnsupportedMedia: {415, "Unsupported content type or encoding"},
	CodeInvalid:          {422, "The request is not valid"},
	CodeNotSealed:        {422, "The account is encrypted, and the request is not"},
	CodeProtocol:         {426, "The protocol is not spoken here"},
	CodeRateLimited:      {429, "Too many requests"},
	CodeInternal:         {500, "Internal error"},
	CodeBusy:             {503, "The server is busy"},
	CodeUnavailable:      {503, "The server is not available"},
	CodeStorageFull:      {507, "The server's storage is full"},
}

// Problem is an answer that is an error, as application/problem+json (RFC 9457).
type Problem struct {
	_          struct{}     `json:"-" additionalProperties:"true"`
	Type       string       `json:"type" doc:"urn:forg:problem:CODE"`
	Title      string       `json:"title"`
	Status     int          `json:"status"`
	Detail     string       `json:"detail,omitempty"`
	Instance   string       `json:"instance,omitempty" doc:"The request's id."`
	Code       Code         `json:"code"`
	Errors     []FieldError `json:"errors,omitempty"`
	AckedSeq   *int64       `json:"acked_seq,omitempty" doc:"With gap: what the log is known up to."`
	Seq        int64        `json:"seq,omitempty" doc:"With fork: the entry that differs."`
	MaxBytes   int64        `json:"max_bytes,omitempty" doc:"With too_large."`
	RetryAfter int          `json:"retry_after,omitempty" doc:"Seconds, as in the header."`
	Protocols  []string     `json:"protocols,omitempty" doc:"With protocol: those that are spoken."`
}

// FieldError is what is wrong with one field of a request.
type FieldError struct {
	_        struct{} `json:"-" additionalProperties:"true"`
	Location string   `json:"location" doc:"Where: body.entries[3].kind, query.limit, header.Idempotency-Key, path.id."`
	Message  string   `json:"message"`
}

func (e FieldError) Error() string { return e.Location + ": " + e.Message }

// NewProblem makes a problem of a code. detail must tell nothing of the server's insides.
func NewProblem(code Code, detail string) *Problem {
	k, ok := problemKinds[code]
	if !ok {
		code, k = CodeInternal, problemKinds[CodeInternal]
	}
	return &Problem{Type: "urn:forg:problem:" + string(code), Title: k.title, Status: k.status, Detail: detail, Code: code}
}

func (p *Problem) Error() string {
	s := fmt.Sprintf("%d %s", p.Status, p.Title)
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	if len(p.Errors) > 0 {
		s += ": " + p.Errors[0].Error()
	}
	return s
}
