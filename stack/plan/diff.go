package plan

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/config"
	"github.com/sentinel-stack/sentinel/stack/api"
)

// Step says what has to be done to one service.
type Step string

// The steps.
const (
	StepStart   Step = "start"   // it is new
	StepStop    Step = "stop"    // it is gone
	StepReplace Step = "replace" // its program, environment or sockets changed
	StepUpdate  Step = "update"  // only how it is watched changed: the running process stays
)

// Diff is the way from one plan to another.
type Diff struct {
	Changes     []api.Change // for people, in the order of the file's blocks
	Steps       map[string]Step
	ReloadProxy bool // the running proxy has to load the new configuration (it is not replaced)
}

// Empty says that nothing is to be done.
func (d *Diff) Empty() bool { return len(d.Changes) == 0 && len(d.Steps) == 0 && !d.ReloadProxy }

// Compare says what leads from old to new.
func Compare(old, new *Plan) *Diff {
	d := &Diff{Steps: map[string]Step{}}
	d.services(old, new)
	d.configuration(old.config, new.config)
	d.ReloadProxy = d.Steps[ProxyName] != StepReplace && (old.Hash != new.Hash || !reflect.DeepEqual(proxyView(old.config), proxyView(new.config)))
	return d
}

// proxyView is the configuration without what only the supervisor uses.
func proxyView(c config.Config) config.Config {
	c.Stack = config.Stack{}
	c.Agents = slices.Clone(c.Agents)
	for i := range c.Agents {
		a := &c.Agents[i]
		a.Command, a.Env, a.EnvFile, a.Restart, a.Ready, a.Stop = nil, nil, "", config.Restart{}, 0, config.Stop{}
		a.Limits = config.ProcessLimits{}
		a.PassEnv, a.Secrets, a.Sandbox, a.User, a.Group = nil, nil, nil, "", ""
	}
	return c
}

func (d *Diff) add(op, kind, name, action, detail string) {
	d.Changes = append(d.Changes, api.Change{Op: op, Kind: kind, Name: name, Action: action, Detail: detail})
}

func (d *Diff) services(old, new *Plan) {
	before := map[string]Service{}
	for _, s := range old.Services {
		before[s.Name] = s
	}
	for _, s := range new.Services {
		was, ok := before[s.Name]
		delete(before, s.Name)
		switch {
		case !ok:
			d.Steps[s.Name] = StepStart
			d.add("+", s.Kind, s.Name, "start", strings.Join(s.Args, " "))
		case sameProcess(was, s) && !sameCare(was, s):
			d.Steps[s.Name] = StepUpdate
			d.add("~", s.Kind, s.Name, "update", processDetail(was, s))
		case !sameProcess(was, s):
			d.Steps[s.Name] = StepReplace
			d.add("~", s.Kind, s.Name, "replace", processDetail(was, s))
		}
	}
	for _, s := range old.Services {
		if _, gone := before[s.Name]; gone {
			d.Steps[s.Name] = StepStop
			d.add("-", s.Kind, s.Name, "stop", "")
		}
	}
}

// sameProcess ignores what does not need another process: how it is watched, and whether a route uses it, which decides only the order of the next start.
func sameProcess(a, b Service) bool {
	b.Used, b.Restart, b.StopSignal, b.StopTimeout, b.Ready = a.Used, a.Restart, a.StopSignal, a.StopTimeout, a.Ready
	return reflect.DeepEqual(a, b)
}

func sameCare(a, b Service) bool {
	return a.Restart == b.Restart && a.StopSignal == b.StopSignal && a.StopTimeout == b.StopTimeout && reflect.DeepEqual(a.Ready, b.Ready)
}

func processDetail(a, b Service) string {
	var what []string
	note := func(name string, same bool) {
		if !same {
			what = append(what, name)
		}
	}
	note("program", a.Path == b.Path && a.Problem == b.Problem && a.Kind == b.Kind)
	note("arguments", slices.Equal(a.Args, b.Args))
	note("environment", slices.Equal(a.Env, b.Env))
	note("sockets", slices.Equal(a.Sockets, b.Sockets))
	note("limits", a.Limits == b.Limits)
	note("sandbox", reflect.DeepEqual(a.Sandbox, b.Sandbox))
	note("secrets", reflect.DeepEqual(a.Secrets, b.Secrets))
	note("what happens to it when the supervisor dies", a.Survives == b.Survives)
	note("error log or metrics listener", a.Settings == b.Settings)
	note("restart policy", a.Restart == b.Restart)
	note("readiness", reflect.DeepEqual(a.Ready, b.Ready))
	note("stop", a.StopSignal == b.StopSignal && a.StopTimeout == b.StopTimeout)
	return strings.Join(what, ", ") + " changed"
}

// configuration lists the changes of the blocks that the proxy reads.
func (d *Diff) configuration(a, b config.Config) {
	action := "reload"
	if d.Steps[ProxyName] == StepReplace {
		action = "replace"
	}
	one := func(kind string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			d.add("~", kind, kind, action, fieldNames(a, b))
		}
	}
	one("system", a.System, b.System)
	list(d, "listener", action, a.Listeners, b.Listeners, func(l config.Listener) string { return l.ID })
	list(d, "route", action, a.Routes, b.Routes, func(r config.Route) string { return r.ID })
	if sameSet(a.Routes, b.Routes) && !slices.EqualFunc(a.Routes, b.Routes, func(x, y config.Route) bool { return x.ID == y.ID }) {
		d.add("~", "route", "*", action, "order changed")
	}
	list(d, "upstream", action, a.Upstreams, b.Upstreams, func(u config.Upstream) string { return u.ID })
	list(d, "filter", action, a.Filters, b.Filters, func(f config.Filter) string { return f.ID })
	pa, pb := proxyView(a), proxyView(b)
	for _, x := range pb.Agents { // starts and stops are listed with the services; external agents have none
		i := slices.IndexFunc(pa.Agents, func(y config.Agent) bool { return x.Name == y.Name })
		switch {
		case i < 0 && x.External:
			d.add("+", "agent", x.Name, action, "external")
		case i >= 0 && !reflect.DeepEqual(x, pa.Agents[i]):
			how := action
			if x.ConfigJSON != pa.Agents[i].ConfigJSON {
				how = "configure"
			}
			d.add("~", "agent", x.Name, how, fieldNames(pa.Agents[i], x))
		}
	}
	for _, x := range pa.Agents {
		if x.External && !slices.ContainsFunc(pb.Agents, func(y config.Agent) bool { return x.Name == y.Name }) {
			d.add("-", "agent", x.Name, action, "external")
		}
	}
	one("limits", a.Limits, b.Limits)
	one("observability", a.Observability, b.Observability)
	list(d, "hook", "update", a.Stack.Hooks, b.Stack.Hooks, func(h config.Hook) string { return h.Name })
	list(d, "webhook", "update", a.Stack.Webhooks, b.Stack.Webhooks, func(h config.Webhook) string { return h.Name })
	sa, sb := a.Stack, b.Stack
	for _, s := range []*config.Stack{&sa, &sb} { // these appear as processes
		s.Proxy, s.Defaults, s.Services = config.ProxyProcess{}, config.ProcessDefaults{}, nil
		s.Hooks, s.Webhooks = nil, nil
	}
	if !reflect.DeepEqual(sa, sb) {
		d.add("~", "stack", "stack", "reload", fieldNames(sa, sb))
	}
}

func list[T any](d *Diff, kind, action string, a, b []T, id func(T) string) {
	for _, x := range b {
		i := slices.IndexFunc(a, func(y T) bool { return id(x) == id(y) })
		if i < 0 {
			d.add("+", kind, id(x), action, "")
		} else if !reflect.DeepEqual(x, a[i]) {
			d.add("~", kind, id(x), action, fieldNames(a[i], x))
		}
	}
	for _, x := range a {
		if !slices.ContainsFunc(b, func(y T) bool { return id(x) == id(y) }) {
			d.add("-", kind, id(x), action, "")
		}
	}
}

func sameSet(a, b []config.Route) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !slices.ContainsFunc(b, func(y config.Route) bool { return x.ID == y.ID }) {
			return false
		}
	}
	return true
}

// fieldNames lists the fields in which two structs of one type differ, as keys are written: kebab-case.
func fieldNames(a, b any) string {
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	var names []string
	for i := range va.NumField() {
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			names = append(names, kebab(va.Type().Field(i).Name))
		}
	}
	return fmt.Sprintf("%s changed", strings.Join(names, ", "))
}

func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 && (name[i-1] < 'A' || name[i-1] > 'Z') {
			b.WriteByte('-')
		}
		if upper {
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
