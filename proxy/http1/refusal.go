package http1

// Refusal says why a message was refused. Values are preallocated and shared: compare them by pointer or by Code, and
// never change one.
type Refusal struct {
	Status int    // status to answer with: of the request when it came from a client, 502 when it came from an upstream
	Code   string // stable snake_case reason for logs and metrics
	Close  bool   // the connection must not be used for another message
}

// Error makes a *Refusal an error; the text is for logs, never for the client.
func (r *Refusal) Error() string { return "cannot accept message: " + r.Code }

// fault is a reason found by the shared parsers, before it is known which side sent the message.
type fault uint8

const (
	ok fault = iota
	badMethod
	methodCase
	methodTooLong
	methodConnect
	badTarget
	targetTooLong
	badRequestLine
	badVersion
	versionUnsupported
	badStatusLine
	badStatusCode
	leadingEmptyLines
	bareLF
	bareCR
	controlByte
	obsFold
	badFieldName
	emptyFieldName
	spaceBeforeColon
	fieldAlias
	headTooLarge
	tooManyFields
	hostMissing
	hostDuplicate
	hostInvalid
	hostMismatch
	lengthDuplicate
	lengthInvalid
	lengthAndEncoding
	encodingDuplicate
	encodingInvalid
	encodingUnsupported
	encodingOldVersion
	encodingNotAllowed
	bodyNotAllowed
	connectionOption
	expectationFailed
	chunkSize
	chunkExtension
	chunkExtTooLarge
	chunkEnd
	trailerField
	trailerTooLarge
	bodyTruncated
	faultCount
)

var requestRefusals = [faultCount]Refusal{
	badMethod:           {400, "bad_method", true},
	methodCase:          {400, "method_case", true},
	methodTooLong:       {501, "method_too_long", true},
	methodConnect:       {501, "connect_not_supported", true},
	badTarget:           {400, "bad_target", true},
	targetTooLong:       {414, "target_too_long", true},
	badRequestLine:      {400, "bad_request_line", true},
	badVersion:          {400, "bad_version", true},
	versionUnsupported:  {505, "version_not_supported", true},
	leadingEmptyLines:   {400, "leading_empty_lines", true},
	bareLF:              {400, "bare_lf", true},
	bareCR:              {400, "bare_cr", true},
	controlByte:         {400, "control_byte", true},
	obsFold:             {400, "obsolete_line_folding", true},
	badFieldName:        {400, "bad_field_name", true},
	emptyFieldName:      {400, "empty_field_name", true},
	spaceBeforeColon:    {400, "space_before_colon", true},
	fieldAlias:          {400, "field_name_alias", true},
	headTooLarge:        {431, "head_too_large", true},
	tooManyFields:       {431, "too_many_fields", true},
	hostMissing:         {400, "host_missing", true},
	hostDuplicate:       {400, "host_duplicate", true},
	hostInvalid:         {400, "host_invalid", true},
	hostMismatch:        {400, "host_mismatch", true},
	lengthDuplicate:     {400, "content_length_duplicate", true},
	lengthInvalid:       {400, "content_length_invalid", true},
	lengthAndEncoding:   {400, "content_length_and_transfer_encoding", true},
	encodingDuplicate:   {400, "transfer_encoding_duplicate", true},
	encodingInvalid:     {400, "transfer_encoding_invalid", true},
	encodingUnsupported: {501, "transfer_encoding_unsupported", true},
	encodingOldVersion:  {400, "transfer_encoding_in_http_1_0", true},
	bodyNotAllowed:      {400, "body_not_allowed", true},
	connectionOption:    {400, "connection_option_invalid", true},
	expectationFailed:   {417, "expectation_failed", true},
	chunkSize:           {400, "chunk_size_invalid", true},
	chunkExtension:      {400, "chunk_extension_invalid", true},
	chunkExtTooLarge:    {400, "chunk_extension_too_large", true},
	chunkEnd:            {400, "chunk_end_missing", true},
	trailerField:        {400, "trailer_field_forbidden", true},
	trailerTooLarge:     {431, "trailers_too_large", true},
	bodyTruncated:       {400, "body_truncated", true},
}

var responseRefusals = badGateway(requestRefusals, map[fault]string{
	badStatusLine:      "bad_status_line",
	badStatusCode:      "bad_status_code",
	encodingNotAllowed: "transfer_encoding_not_allowed",
})

// badGateway derives the upstream side's refusals: the same codes behind "upstream_", status 502.
func badGateway(from [faultCount]Refusal, more map[fault]string) [faultCount]Refusal {
	var to [faultCount]Refusal
	for f := ok + 1; f < faultCount; f++ {
		code := from[f].Code
		if own, found := more[f]; found {
			code = own
		}
		to[f] = Refusal{502, "upstream_" + code, true}
	}
	return to
}

// Side says who sent a message; it decides the status of refusals and a few rules.
type Side uint8

const (
	FromClient Side = iota
	FromUpstream
)

func (s Side) refusal(f fault) *Refusal {
	if s == FromUpstream {
		return &responseRefusals[f]
	}
	return &requestRefusals[f]
}

// Refusals lists every refusal a side can produce, for documentation and for metrics that are resolved ahead of time.
func Refusals(s Side) []*Refusal {
	var all []*Refusal
	for f := ok + 1; f < faultCount; f++ {
		if r := s.refusal(f); r.Code != "" {
			all = append(all, r)
		}
	}
	return all
}
