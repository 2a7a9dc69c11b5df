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
	Box    Box

	Survives bool // the supervisor's death does not end it
}

// Limit is one resource limit of the process, soft and hard.
type Limit struct {
	Name     string // as it is reported when it cannot be set
	Resource uint32 // number of the kernel
	Value    uint64
}

// specVersion guards against a supervisor and a shim of different programs.
const specVersion = 5

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
		b = appendUint64(b, l.Value)
	}
	return s.Box.append(appendBool(b, s.Survives))
}

func (b *Box) append(dst []byte) []byte {
	for _, on := range []bool{b.Strict, b.View, b.ReadOnly, b.PrivateTmp, b.NoNetwork, b.Switch, b.DropCaps, b.NoNewPrivs} {
		dst = appendBool(dst, on)
	}
	dst = appendStrings(appendStrings(appendStrings(appendStrings(dst, b.Writable), b.Hidden), b.Cover), b.Keep)
	dst = appendUint64(appendUint32(appendUint32(dst, b.User), b.Group), b.KeepCaps)
	dst = appendUint64(appendUint64(appendUint64(dst, b.Access.FS), b.Access.Net), b.Access.Scoped)
	dst = appendUint32(dst, uint32(len(b.Access.Paths)))
	for _, p := range b.Access.Paths {
		dst = appendUint64(appendString(dst, p.Path), p.Access)
	}
	return appendString(dst, string(b.Filter))
}

// Decode reads what Encode wrote and says whether it is whole.
func Decode(b []byte) (s Spec, ok bool) {
	r := reader{b: b}
	version := r.uint32()
	s.Parent, s.Umask, s.Listen = r.uint32(), r.uint32(), r.uint32()
	s.Path, s.Dir = r.string(), r.string()
	s.Args, s.Env = r.strings(), r.strings()
	for range min(r.uint32(), maxLimits) {
		s.Limits = append(s.Limits, Limit{Name: r.string(), Resource: r.uint32(), Value: r.uint64()})
	}
	s.Survives = r.bool()
	s.Box.read(&r)
	return s, !r.short && len(r.b) == 0 && version == specVersion && s.Path != "" && len(s.Args) > 0
}

func (b *Box) read(r *reader) {
	for _, on := range []*bool{&b.Strict, &b.View, &b.ReadOnly, &b.PrivateTmp, &b.NoNetwork, &b.Switch, &b.DropCaps, &b.NoNewPrivs} {
		*on = r.bool()
	}
	b.Writable, b.Hidden, b.Cover, b.Keep = r.strings(), r.strings(), r.strings(), r.strings()
	b.User, b.Group, b.KeepCaps = r.uint32(), r.uint32(), r.uint64()
	b.Access.FS, b.Access.Net, b.Access.Scoped = r.uint64(), r.uint64(), r.uint64()
	n := r.uint32()
	if uint64(n)*12 > uint64(len(r.b)) { // each takes at least its length and its rights
		r.short = true
		return
	}
	for range n {
		b.Access.Paths = append(b.Access.Paths, PathRule{Path: r.string(), Access: r.uint64()})
	}
	b.Filter = []byte(r.string())
}

func appendBool(b []byte, on bool) []byte {
	if on {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendUint64(b []byte, n uint64) []byte {
	return appendUint32(appendUint32(b, uint32(n)), uint32(n>>32))
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

func (r *reader) uint64() uint64 {
	low := r.uint32()
	return uint64(low) | uint64(r.uint32())<<32
}

func (r *reader) bool() bool {
	if len(r.b) < 1 {
		r.short = true
		return false
	}
	on := r.b[0] == 1
	r.b = r.b[1:]
	return on
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
