package sandbox

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sentinel-stack/sentinel/stack/exec/shim"
)

// States of a layer.
const (
	Enforced = "enforced"
	Off      = "off"     // nobody asked for it
	Missing  = "missing" // it was asked for and is not there
)

// Layer is one layer of a box as it is in force for a running process.
type Layer struct {
	Name, State string
	Detail      string // what it does, for people
	Why         string // why it is off or missing, "" = it is enforced
}

// Inspect looks at a running process. skipped is what its shim did without, by layer; what the kernel tells itself counts more than what was asked for.
func (h Host) Inspect(p Policy, pid int, skipped map[string]string, secrets int) []Layer {
	s := Status(pid)
	layers := []Layer{
		userLayer(&p, s), {Name: "environment", State: Enforced, Detail: "only what pass-env names, env, and what libraries look at"},
		capabilityLayer(&p, s, skipped), flagLayer(shim.LayerNoNewPrivs, p.NoNewPrivs || p.Seccomp || p.Files, s["NoNewPrivs"] == "1", "programs it starts gain no rights", skipped),
		flagLayer(shim.LayerSeccomp, p.Seccomp, s["Seccomp"] == "2", "system calls that look into other processes, change the machine or make namespaces are refused; sockets: "+strings.Join(familyNames(p.Network), ", "), skipped),
		h.landlockLayer(&p, skipped),
	}
	if !h.Root {
		skipped = map[string]string{shim.LayerView: onlyRoot, shim.LayerNetwork: onlyRoot}
	}
	layers = append(layers, namespaceLayer(shim.LayerView, p.views(), "mnt", pid, viewDetail(&p), skipped),
		namespaceLayer(shim.LayerNetwork, p.Network == NetworkNone, "net", pid, "a network without interfaces", skipped))
	secret := Layer{Name: "secrets", State: Off, Why: "it has none"}
	if secrets > 0 {
		secret = Layer{Name: "secrets", State: Enforced, Detail: fmt.Sprintf("%d in sealed memory files", secrets)}
	}
	return append(layers, secret)
}

const onlyRoot = "only a supervisor that is root can make namespaces"

// Status is /proc/PID/status, by field; empty when it cannot be read.
func Status(pid int) map[string]string {
	out := map[string]string{}
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		out[name] = strings.TrimSpace(value)
	}
	return out
}

func userLayer(p *Policy, s map[string]string) Layer {
	l := Layer{Name: shim.LayerUser, State: Enforced}
	uid, gid := first(s["Uid"]), first(s["Gid"])
	l.Detail = fmt.Sprintf("user %s, group %s", uid, gid)
	if p.User == "" && p.Group == "" {
		l.State, l.Why = Off, "it runs as the supervisor does; write user"
	}
	return l
}

func first(fields string) string {
	f := strings.Fields(fields)
	if len(f) == 0 {
		return "?"
	}
	return f[0]
}

func capabilityLayer(p *Policy, s map[string]string, skipped map[string]string) Layer {
	l := Layer{Name: shim.LayerCapabilities}
	effective, _ := strconv.ParseUint(s["CapEff"], 16, 64)
	bounding, _ := strconv.ParseUint(s["CapBnd"], 16, 64)
	keep, _ := capabilities(p.Capabilities)
	has := capabilityList(effective)
	l.Detail = "none"
	if len(has) > 0 {
		l.Detail = strings.Join(has, ", ")
	}
	if len(has) == len(capabilityNames) {
		l.Detail = "all"
	}
	switch {
	case !p.DropCaps:
		l.State, l.Why = Off, "not asked for"
	case bounding&^keep == 0:
		l.State = Enforced
	case effective&^keep == 0:
		l.State = Enforced
		l.Detail += " (a setuid program could gain some, but for no-new-privileges)"
	default:
		l.State, l.Why = Missing, reason(skipped, l.Name)
	}
	return l
}

func flagLayer(name string, asked, there bool, detail string, skipped map[string]string) Layer {
	switch {
	case asked && skipped[name] != "": // what is there is somebody else's
		return Layer{Name: name, State: Missing, Detail: detail, Why: reason(skipped, name)}
	case there:
		return Layer{Name: name, State: Enforced, Detail: detail}
	case asked:
		return Layer{Name: name, State: Missing, Detail: detail, Why: reason(skipped, name)}
	}
	return Layer{Name: name, State: Off, Why: "not asked for"}
}

func reason(skipped map[string]string, layer string) string {
	if why := skipped[layer]; why != "" {
		return why
	}
	return "the process was started before this was asked for"
}

// landlockLayer can only tell what was done at the start: the kernel shows nothing of it.
func (h Host) landlockLayer(p *Policy, skipped map[string]string) Layer {
	l := Layer{Name: shim.LayerLandlock}
	switch {
	case !p.Files:
		l.State, l.Why = Off, "filesystem is \"host\""
	case h.Landlock == 0:
		l.State, l.Why = Missing, "this kernel does not have it"
	case skipped[l.Name] != "":
		l.State, l.Why = Missing, reason(skipped, l.Name)
	default:
		l.State = Enforced
		l.Detail = fmt.Sprintf("version %d", h.Landlock)
		if len(p.Read) > 0 {
			l.Detail += "; reads " + strings.Join(p.Read, ", ")
		}
		if len(p.Write) > 0 {
			l.Detail += "; writes " + strings.Join(p.Write, ", ")
		}
		if p.Network == NetworkNone && h.Landlock >= 4 {
			l.Detail += "; no TCP"
		}
		if h.Landlock >= 6 {
			l.Detail += "; no signals to others"
		}
	}
	return l
}

func viewDetail(p *Policy) string {
	var parts []string
	if p.Files {
		parts = append(parts, "read-only but for what stands in write; secrets of the system and homes are covered")
	}
	if p.PrivateTmp {
		parts = append(parts, "its own /tmp")
	}
	return strings.Join(parts, "; ")
}

func namespaceLayer(name string, asked bool, kind string, pid int, detail string, skipped map[string]string) Layer {
	own, err1 := os.Readlink("/proc/self/ns/" + kind)
	its, err2 := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/" + kind)
	return flagLayer(name, asked, err1 == nil && err2 == nil && own != its, detail, skipped)
}

func familyNames(network string) []string {
	names := map[uint32]string{1: "unix", 2: "inet", 10: "inet6", 16: "netlink"}
	var out []string
	for _, f := range families(network) {
		out = append(out, names[f])
	}
	slices.Sort(out)
	return out
}
