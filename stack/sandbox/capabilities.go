package sandbox

import (
	"fmt"
	"slices"
	"strings"
)

// capabilityNames are the capabilities in the order of their numbers (capabilities(7)).
var capabilityNames = []string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
	"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
}

// capabilities turns names into bits.
func capabilities(names []string) (bits uint64, err error) {
	for _, name := range names {
		i := slices.Index(capabilityNames, strings.TrimPrefix(strings.ToLower(name), "cap_"))
		if i < 0 {
			return 0, fmt.Errorf("there is no capability %s", name)
		}
		bits |= 1 << i
	}
	return bits, nil
}

// capabilityList is the reverse.
func capabilityList(bits uint64) []string {
	var out []string
	for i, name := range capabilityNames {
		if bits&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}
