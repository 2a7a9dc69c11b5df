package shim

// Spec is what the shim is told. It never changes between restarts of a service, so it is encoded once.
type Spec struct {
	Parent uint32 // pid of the supervisor
	Umask  uint32
	Listen uint32 // number of inherited sockets
	Path   string // program, absolute
	Dir    string // "" = the supervisor's
	Args   []string
	Env    []string // without LISTEN_PID
	Limits []Limit

	Survives bool // the supervisor's death does not end it
}

// Limit is one resource limit of the process, soft and hard.
type Limit struct {
	Name     string // as it is reported when it cannot be set
	Resource uint32 // number of the kernel
	Value    uint64
}

// specVersion guards against a supervisor and a shim of different programs.
const specVersion = 3

// maxLimits is more than the kernel knows.
const maxLimits = 64

// Encode writes the spec as little-endian numbers and length-prefixed strings.
func (s *Spec) Encode() []byte {
	b := appendUint32(nil, specVersion)
	b = appendUint32(b, s.Parent)
	b = appendUint32(b, s.Umask)
	b = appendUint32(b, s.Listen)
	b = appendString(b, s.Path)
	b = appendString(b, s.Dir)
	b = appendStrings(b, s.Args)
	b = appendStrings(b, s.Env)
	b = appendUint32(b, uint32(len(s.Limits)))
	for _, l := range s.Limits {
		b = appendUint32(appendString(b, l.Name), l.Resource)
		b = appendUint32(appendUint32(b, uint32(l.Value)), uint32(l.Value>>32))
	}
	survives := uint32(0)
	if s.Survives {
		survives = 1
	}
	return appendUint32(b, survives)
}

// Decode reads what Encode wrote and says whether it is whole.
func Decode(b []byte) (s Spec, ok bool) {
	r := reader{b: b}
	version := r.uint32()
	s.Parent, s.Umask, s.Listen = r.uint32(), r.uint32(), r.uint32()
	s.Path, s.Dir = r.string(), r.string()
	s.Args, s.Env = r.strings(), r.strings()
	for range min(r.uint32(), maxLimits) {
		l := Limit{Name: r.string(), Resource: r.uint32()}
		l.Value = uint64(r.uint32())
		l.Value |= uint64(r.uint32()) << 32
		s.Limits = append(s.Limits, l)
	}
	s.Survives = r.uint32() == 1
	return s, !r.short && len(r.b) == 0 && version == specVersion && s.Path != "" && len(s.Args) > 0
}

func appendUint32(b []byte, n uint32) []byte {
	return append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
}

func appendString(b []byte, s string) []byte {
	return append(appendUint32(b, uint32(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = appendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

type reader struct {
	b     []byte
	short bool
}

func (r *reader) uint32() uint32 {
	if len(r.b) < 4 {
		r.short = true
		return 0
	}
	n := uint32(r.b[0]) | uint32(r.b[1])<<8 | uint32(r.b[2])<<16 | uint32(r.b[3])<<24
	r.b = r.b[4:]
	return n
}

func (r *reader) string() string {
	n := r.uint32()
	if uint64(n) > uint64(len(r.b)) {
		r.short = true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) strings() []string {
	n := r.uint32()
	if uint64(n)*4 > uint64(len(r.b)) { // each takes at least its length
		r.short = true
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, r.string())
	}
	return list
}
