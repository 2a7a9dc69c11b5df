package config

import (
	"fmt"
	"strings"

	"github.com/sentinel-stack/sentinel/proxy/kdl"
)

// Sandbox is what a process may do beside its work. What it does not name is refused.
type Sandbox struct {
	Enabled      bool
	Network      string // none, host
	Filesystem   string // restricted, host
	PrivateTmp   bool
	Read, Write  []string
	NoNewPrivs   bool
	Capabilities []string // that it keeps
	Seccomp      string   // default, off
}

// Secret is a value that a process gets as a file in memory.
type Secret struct {
	Name string
	File string // where the value is
}

func sandboxSchema() *Key {
	return block("sandbox", "Sandbox", "What the process may do: nothing but what is named here. `sandbox #false` lets it do what its user may.",
		append([]*Key{
			value("network", "Network", keyword("none", "host"), "none", "none: it can talk through the sockets it was given and through Unix sockets, and with nobody else; host: it uses the network as everybody does."),
			value("filesystem", "Filesystem", keyword("restricted", "host"), "restricted", "restricted: it reads the system's programs and libraries, its own program, what its config names and what stands in read and write, writes what stands in write, and finds nothing else; host: it sees everything."),
			value("private-tmp", "PrivateTmp", boolean(), true, "Its /tmp and /var/tmp are its own, empty at its start and gone with it."),
			list("capabilities", "Capabilities", capability(), nil, "Capabilities that it keeps, as \"net_bind_service\".").once().unset("none"),
		}, boxSchema()...)...,
	).argName("enabled").optional()
}

// proxySandboxSchema is without what a proxy cannot do without: the network, and the sockets of others.
func proxySandboxSchema() *Key {
	return block("sandbox", "Sandbox", "What the proxy may do; without this block, when command is not given, what follows holds with its defaults. `sandbox #false` lets it do what its user may.",
		append([]*Key{
			value("filesystem", "Filesystem", keyword("restricted", "host"), "restricted", "restricted (by Landlock): it reads the system's libraries, what the configuration names and what stands in read and write, and writes its log files, the storage of ACME and what stands in write; host: it sees everything. A reload that names files elsewhere replaces the process."),
			list("capabilities", "Capabilities", capability(), nil, "Capabilities that it keeps, as \"net_admin\".").once().unset("net_bind_service, and those for files of other users: chown, dac_override, dac_read_search, fowner"),
		}, boxSchema()...)...,
	).argName("enabled").optional()
}

// boxSchema is what every sandbox has.
func boxSchema() []*Key {
	return []*Key{
		value("enabled", "Enabled", boolean(), true, "Whether there is a sandbox."),
		list("read", "Read", absoluteDir(), nil, "Files and directories, by their absolute paths, that it may also read and execute."),
		list("write", "Write", absoluteDir(), nil, "Files and directories, by their absolute paths, that it may also write to. A file that is replaced rather than written to needs its directory here."),
		value("no-new-privileges", "NoNewPrivs", boolean(), true, "Programs it starts gain no rights by being setuid."),
		value("seccomp", "Seccomp", keyword("default", "off"), "default", "default: system calls that look into other processes, change the machine or make namespaces are refused, and sockets of kinds it does not need."),
	}
}

// capability is the name of a capability. Which ones there are is the kernel's to say.
func capability() *Type {
	return text("capability", func(s string) error {
		if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "" || s == "" {
			return fmt.Errorf(`%s is no capability: write "net_bind_service"`, kdl.Quote(s))
		}
		return nil
	})
}

func userSchema() []*Key {
	return []*Key{
		value("user", "User", account(), "", "The user it runs as: a name or a number. Only a supervisor that is root can change it.").unset("the supervisor's"),
		value("group", "Group", account(), "", "The group it runs as; there are no further ones.").unset("that of user, else the supervisor's"),
	}
}

func account() *Type {
	return text("name", func(s string) error {
		if strings.ContainsAny(s, " \t:/,\x00") || strings.HasPrefix(s, "-") || s == "" {
			return fmt.Errorf("%s is no name of a user or group", kdl.Quote(s))
		}
		return nil
	})
}

func secretSchema() *Key {
	return items("secret", "Secrets", "Name", environmentName(), "A value that only this process gets: as the file of this name in the directory $CREDENTIALS_DIRECTORY, in memory, and neither in its environment nor in its arguments. When the file that holds it changes, the process is replaced.",
		value("file", "File", absoluteFile(), "", "File that holds the value, of at most 64 KB.").required().asProp(),
	)
}

func passEnvSchema() *Key {
	return list("pass-env", "PassEnv", variablePattern(), nil, "Variables of the supervisor's environment that it also gets; \"AWS_*\" stands for all that begin so, \"*\" for all. PATH, HOME, locale, time zone and what Go programs and TLS libraries look at are passed anyway; HTTPS_PROXY and its like, which may hold a password, are not.").once()
}

func variablePattern() *Type {
	return text("variable name", func(s string) error {
		if base := strings.TrimSuffix(s, "*"); base != "" && !variableName.MatchString(base) || s == "" {
			return fmt.Errorf("%s is neither the name of an environment variable nor the beginning of one with *", kdl.Quote(s))
		}
		return nil
	})
}

// sandboxes finds what no single key of a sandbox can tell.
func (c *checker) sandboxes() {
	c.sandbox("stack.defaults", c.Stack.Defaults.Sandbox)
	c.sandbox("stack.proxy", c.Stack.Proxy.Sandbox)
	for i := range c.Agents {
		a := &c.Agents[i]
		if a.Sandbox != c.Stack.Defaults.Sandbox {
			c.sandbox("agents."+a.Name, a.Sandbox)
		}
		if at, written := c.origins["agents."+a.Name+".sandbox"]; written && a.External {
			c.fail(at, "no-effect", "remove external, or sandbox", "agent %s is run by somebody else", kdl.Quote(a.Name))
		}
	}
	for i := range c.Stack.Services {
		s := &c.Stack.Services[i]
		c.sandbox("stack.service."+s.Name, s.Sandbox)
	}
}

func (c *checker) sandbox(path string, s *Sandbox) {
	if s == nil {
		return
	}
	path += ".sandbox"
	no := func(key, why string) {
		if at, written := c.origins[path+"."+key]; written {
			c.report.warn(at, "no-effect", "", "%s has no effect: %s", key, why)
		}
	}
	if !s.Enabled {
		for _, key := range []string{"network", "filesystem", "private-tmp", "read", "write", "no-new-privileges", "capabilities", "seccomp"} {
			no(key, "the sandbox is switched off")
		}
		return
	}
	if s.Filesystem == "host" {
		no("read", "with filesystem \"host\" everything can be read")
		no("write", "with filesystem \"host\" everything can be written")
	}
	if !s.NoNewPrivs && (s.Seccomp == "default" || s.Filesystem == "restricted") {
		c.fail(c.at(path+".no-new-privileges"), "invalid-value", `write seccomp "off" and filesystem "host" as well`, "seccomp and a restricted filesystem need no-new-privileges")
	}
}
