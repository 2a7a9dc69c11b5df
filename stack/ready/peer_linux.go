package ready

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Numbers of the kernel's sock_diag interface that package unix lacks.
const (
	sockDiagByFamily = 20
	showPeer         = 4
	attrPeer         = 2
	requestLen       = unix.SizeofNlMsghdr + 24
	answerLen        = 16
	anyState         = ^uint32(0)
)

// peerInode asks the kernel for the inode of the other end of a Unix connection. Credentials do not help to tell who accepted it: they are those of
// whoever listened, which is the supervisor. ok is false when the kernel does not tell.
func peerInode(conn net.Conn) (inode uint32, ok bool) {
	own, ok := ownInode(conn)
	if !ok {
		return 0, false
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	wait := unix.NsecToTimeval(time.Second.Nanoseconds())
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	if unix.Sendto(fd, diagRequest(own), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return 0, false
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return 0, false
	}
	return diagPeer(buf[:n])
}

func ownInode(conn net.Conn) (uint32, bool) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return 0, false
	}
	var st unix.Stat_t
	var statErr error
	if err := rc.Control(func(fd uintptr) { statErr = unix.Fstat(int(fd), &st) }); err != nil || statErr != nil {
		return 0, false
	}
	return uint32(st.Ino), true
}

// diagRequest asks for one socket by inode: a netlink header and struct unix_diag_req.
func diagRequest(inode uint32) []byte {
	b := make([]byte, 0, requestLen)
	ne := binary.NativeEndian
	b = ne.AppendUint32(b, requestLen)
	b = ne.AppendUint16(b, sockDiagByFamily)
	b = ne.AppendUint16(b, unix.NLM_F_REQUEST)
	b = ne.AppendUint32(b, 1) // sequence
	b = ne.AppendUint32(b, 0) // port
	b = append(b, unix.AF_UNIX, 0, 0, 0)
	b = ne.AppendUint32(b, anyState)
	b = ne.AppendUint32(b, inode)
	b = ne.AppendUint32(b, showPeer)
	b = ne.AppendUint32(b, ^uint32(0)) // no cookie
	return ne.AppendUint32(b, ^uint32(0))
}

// diagPeer reads the peer's inode out of the answer.
func diagPeer(b []byte) (uint32, bool) {
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil || len(msgs) == 0 || msgs[0].Header.Type != sockDiagByFamily || len(msgs[0].Data) < answerLen {
		return 0, false
	}
	ne := binary.NativeEndian
	for attrs := msgs[0].Data[answerLen:]; len(attrs) >= 4; {
		length, kind := int(ne.Uint16(attrs)), ne.Uint16(attrs[2:])
		if length < 4 || length > len(attrs) {
			break
		}
		if kind == attrPeer && length >= 8 {
			return ne.Uint32(attrs[4:]), true
		}
		attrs = attrs[min(len(attrs), (length+3)&^3):]
	}
	return 0, false
}

// maxTree bounds the walk over the descendants of a process.
const maxTree = 1000

// holdsSocket says whether pid or one of its descendants has the socket open.
func holdsSocket(pid int, inode uint32) bool {
	want := "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]"
	pids := []int{pid}
	for i := 0; i < len(pids) && len(pids) < maxTree; i++ {
		dir := "/proc/" + strconv.Itoa(pids[i])
		fds, _ := os.ReadDir(dir + "/fd")
		for _, fd := range fds {
			if link, err := os.Readlink(dir + "/fd/" + fd.Name()); err == nil && link == want {
				return true
			}
		}
		tasks, _ := filepath.Glob(dir + "/task/*/children")
		for _, t := range tasks {
			b, _ := os.ReadFile(t)
			for f := range strings.FieldsSeq(string(b)) {
				if child, err := strconv.Atoi(f); err == nil {
					pids = append(pids, child)
				}
			}
		}
	}
	return false
}
