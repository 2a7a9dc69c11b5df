package prefilter

import (
	"net/url"
	"strconv"
	"strings"
)

// class says where an input comes from.
type class uint8

const (
	argGet class = iota
	argGetName
	argPost
	argPostName
	header
	headerName
	cookie
	cookieName
	uri
	uriRaw
	filename
	basename
	requestLine
	method
	protocol
	query
	body
	bodyLength
	processor
	clientAddr
	argsSize
	classes // how many there are
)

// variables are those known here. One with no class is empty, or constant, in every request that is judged here.
var variables = map[string][]class{
	"ARGS": {argGet, argPost}, "ARGS_GET": {argGet}, "ARGS_POST": {argPost}, "ARGS_NAMES": {argGetName, argPostName}, "ARGS_GET_NAMES": {argGetName}, "ARGS_POST_NAMES": {argPostName},
	"REQUEST_HEADERS": {header}, "REQUEST_HEADERS_NAMES": {headerName}, "REQUEST_COOKIES": {cookie}, "REQUEST_COOKIES_NAMES": {cookieName},
	"REQUEST_URI": {uri}, "REQUEST_URI_RAW": {uriRaw}, "REQUEST_FILENAME": {filename}, "REQUEST_BASENAME": {basename}, "REQUEST_LINE": {requestLine}, "REQUEST_METHOD": {method},
	"REQUEST_PROTOCOL": {protocol}, "QUERY_STRING": {query}, "REQUEST_BODY": {body}, "REQUEST_BODY_LENGTH": {bodyLength}, "REQBODY_PROCESSOR": {processor}, "REMOTE_ADDR": {clientAddr},
	"ARGS_COMBINED_SIZE": {argsSize},
	"FILES":              {}, "FILES_NAMES": {}, "FILES_SIZES": {}, "FILES_TMP_CONTENT": {}, "FILES_TMPNAMES": {}, "MULTIPART_PART_HEADERS": {}, "MULTIPART_FILENAME": {}, "MULTIPART_NAME": {}, "XML": {}, "REQUEST_XML": {},
}

// constants are variables with one value that is the same in every request that is judged here.
var constants = map[string]string{"REQBODY_ERROR": "0", "REQBODY_PROCESSOR_ERROR": "0", "URLENCODED_ERROR": "0", "MULTIPART_STRICT_ERROR": "", "FILES_COMBINED_SIZE": "0", "ARGUMENTS_LIMIT_REACHED": "0", "URI_PARSE_ERROR": "0",
	"MULTIPART_DATA_AFTER": "0", "MULTIPART_INVALID_QUOTING": "0", "MULTIPART_DUPLICATE_PART_HEADER": "0", "INBOUND_DATA_ERROR": ""}

// inBody tells whether inputs of a class come with the body: rules for the head do not see them.
func (c class) inBody() bool { return c == argPost || c == argPostName || c == body || c == bodyLength }

// input is one value that rules look at.
type input struct {
	class class
	key   string // in lower case
	value string
}

func (v *visit) add(c class, key, value string) {
	v.by[c] = append(v.by[c], int32(len(v.inputs)))
	v.inputs = append(v.inputs, input{c, key, value})
}

// read takes a request's head apart as the engine does, or says that it cannot be judged.
func (v *visit) read(r *Request) bool {
	target, _, _ := strings.Cut(r.URI, "#")
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return false
	}
	base := u.Path
	if i := strings.LastIndexAny(base, `/\`); i >= 0 && i+1 < len(base) {
		base = base[i+1:]
	}
	v.add(method, "", r.Method)
	v.add(protocol, "", r.Protocol)
	v.add(requestLine, "", r.Method+" "+r.URI+" "+r.Protocol)
	v.add(uriRaw, "", r.URI)
	v.add(uri, "", u.String())
	v.add(filename, "", u.Path)
	v.add(basename, "", base)
	v.add(query, "", u.RawQuery)
	v.add(clientAddr, "", r.Client)
	for name, value := range r.Headers {
		v.field(name, value)
	}
	return v.pairs(u.RawQuery, argGet, argGetName)
}

func (v *visit) field(name, value string) {
	if name == "" {
		return
	}
	key := strings.ToLower(name)
	v.add(header, key, value)
	v.add(headerName, key, name)
	switch {
	case key == "content-type" && !v.typed:
		v.typed = true
		switch t := strings.TrimSpace(strings.ToLower(value)); {
		case strings.HasPrefix(t, "application/x-www-form-urlencoded"):
			v.processor = "URLENCODED"
		case strings.HasPrefix(t, "multipart/form-data"):
			v.processor = "MULTIPART"
		}
	case key == "cookie":
		v.cookies(value)
	}
}

func (v *visit) cookies(text string) {
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(trimControls(part), "=")
		if name, value = trimControls(name), trimControls(value); name+value == "" {
			continue
		}
		key := strings.ToLower(name)
		v.add(cookie, key, value)
		v.add(cookieName, key, name)
	}
}

func trimControls(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// finish adds what the inputs amount to.
func (v *visit) finish() {
	size := 0
	for i := range v.inputs {
		if in := &v.inputs[i]; in.class <= argPostName {
			size += len(in.value)
		}
	}
	v.add(argsSize, "", strconv.Itoa(size))
	v.add(processor, "", v.processor)
	if !v.form {
		v.add(body, "", "")
		v.add(bodyLength, "", "0")
	}
}
