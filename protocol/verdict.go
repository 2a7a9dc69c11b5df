package protocol

// Action is what a verdict asks the proxy to do.
type Action uint8

// Actions. The zero Action decides nothing: sending such a verdict is a failure of the agent, never an allow.
const (
	Undecided Action = iota
	ActionAllow
	ActionBlock
	ActionRedirect
	ActionChallenge
)

// String returns the action's name on the wire.
func (a Action) String() string {
	switch a {
	case ActionAllow:
		return "allow"
	case ActionBlock:
		return "block"
	case ActionRedirect:
		return "redirect"
	case ActionChallenge:
		return "challenge"
	}
	return "undecided"
}

// Verdict is an agent's answer to one event. Make one with Allow, Block, Redirect or Challenge.
type Verdict struct {
	Action  Action
	Status  int     // block and redirect
	Headers Headers // block: fields of the answer
	Body    []byte  // block: body of the answer; text, because JSON carries it as a string
	URL     string  // redirect

	ChallengeType string   // challenge: "captcha", "javascript", "basic", …
	Params        []Header // challenge: parameters, names are unique

	RequestHeaders  []HeaderOp // applied to the request that goes on, in order
	ResponseHeaders []HeaderOp // applied to the answer, from any phase, in order
	Routing         []Header   // names are unique; told to the proxy, meaning is agreed per deployment

	RequestBody  *BodyMutation // answer to a request body chunk
	ResponseBody *BodyMutation // answer to a response body chunk
	NeedsMore    bool          // provisional: the next chunk decides

	Socket *SocketVerdict // answer to a message of a WebSocket; nil lets it pass

	Audit Audit
}

// Response is a verdict on its way to the proxy, or the news that there is none.
type Response struct {
	CorrelationID string
	Verdict       Verdict
	Error         string // not "": the agent could not decide; the proxy applies its failure mode
}

// Audit is what the agent wants on record about its verdict.
type Audit struct {
	Tags        []string
	RuleIDs     []string
	ReasonCodes []string
	Confidence  float64 // 0..1; 0 = not said
	Custom      []Header
}

// BodyMutation changes the chunk it answers. Data nil lets the chunk pass, empty drops it, anything else replaces it.
type BodyMutation struct {
	Data  []byte
	Index uint32
}

// HeaderOpKind is what a HeaderOp does.
type HeaderOpKind uint8

// Header operations.
const (
	HeaderSet    HeaderOpKind = iota + 1 // replaces every line of that name
	HeaderAdd                            // appends a line
	HeaderRemove                         // removes every line of that name
)

// HeaderOp is one change to a header block.
type HeaderOp struct {
	Kind        HeaderOpKind
	Name, Value string
}

// Set returns an operation that replaces every line called name with one line.
func Set(name, value string) HeaderOp { return HeaderOp{HeaderSet, name, value} }

// Add returns an operation that appends a line.
func Add(name, value string) HeaderOp { return HeaderOp{HeaderAdd, name, value} }

// Remove returns an operation that removes every line called name.
func Remove(name string) HeaderOp { return HeaderOp{Kind: HeaderRemove, Name: name} }

// Allow lets the exchange go on.
func Allow() Verdict { return Verdict{Action: ActionAllow} }

// Block answers the client with status (200–599), fields and body instead of the upstream's answer.
func Block(status int, headers Headers, body []byte) Verdict {
	return Verdict{Action: ActionBlock, Status: status, Headers: headers, Body: body}
}

// Redirect answers the client with a redirection (301, 302, 303, 307 or 308) to url.
func Redirect(url string, status int) Verdict {
	return Verdict{Action: ActionRedirect, URL: url, Status: status}
}

// Challenge asks the client to prove something first. SPEC.md says which answer each kind becomes.
func Challenge(kind string, params ...Header) Verdict {
	return Verdict{Action: ActionChallenge, ChallengeType: kind, Params: params}
}

// WithRequestHeaders returns the verdict with more operations on the request.
func (v Verdict) WithRequestHeaders(ops ...HeaderOp) Verdict {
	v.RequestHeaders = append(v.RequestHeaders[:len(v.RequestHeaders):len(v.RequestHeaders)], ops...)
	return v
}

// WithResponseHeaders returns the verdict with more operations on the answer.
func (v Verdict) WithResponseHeaders(ops ...HeaderOp) Verdict {
	v.ResponseHeaders = append(v.ResponseHeaders[:len(v.ResponseHeaders):len(v.ResponseHeaders)], ops...)
	return v
}

// WithTags returns the verdict with more audit tags.
func (v Verdict) WithTags(tags ...string) Verdict {
	v.Audit.Tags = append(v.Audit.Tags[:len(v.Audit.Tags):len(v.Audit.Tags)], tags...)
	return v
}

// WithRules returns the verdict with more rule ids on record.
func (v Verdict) WithRules(ids ...string) Verdict {
	v.Audit.RuleIDs = append(v.Audit.RuleIDs[:len(v.Audit.RuleIDs):len(v.Audit.RuleIDs)], ids...)
	return v
}

// WithReasons returns the verdict with more reason codes on record.
func (v Verdict) WithReasons(codes ...string) Verdict {
	v.Audit.ReasonCodes = append(v.Audit.ReasonCodes[:len(v.Audit.ReasonCodes):len(v.Audit.ReasonCodes)], codes...)
	return v
}

// WithCustom returns the verdict with one more audit fact. The name "correlation_id" belongs to the protocol.
func (v Verdict) WithCustom(name, value string) Verdict {
	v.Audit.Custom = append(v.Audit.Custom[:len(v.Audit.Custom):len(v.Audit.Custom)], Header{name, value})
	return v
}
