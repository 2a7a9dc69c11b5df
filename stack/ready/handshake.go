package ready

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/sentinel-stack/sentinel/protocol"
	"github.com/sentinel-stack/sentinel/protocol/wire"
)

// Handshake succeeds when the agent behind the Unix socket completes the protocol's handshake, and it is the process pid or a descendant that answers.
// It sends no configuration, so the agent keeps its own.
func Handshake(socket string) Probe {
	return func(ctx context.Context, pid int) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		defer conn.Close()
		// An agent that does not accept yet leaves the connection in the backlog: the deadline of ctx must end the read.
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		defer stop()
		frame, err := wire.AppendFrame(nil, wire.Format{}, &protocol.HandshakeRequest{
			SupportedVersions: []int{protocol.Version}, ProxyID: "sentinel-stack", SupportedEncodings: []protocol.Encoding{protocol.JSON},
		})
		if err != nil {
			return err
		}
		if _, err := conn.Write(frame); err != nil {
			return err
		}
		kind, payload, err := wire.NewReader(conn).Next()
		if err != nil {
			if ctx.Err() != nil {
				return errors.New("no answer to the handshake")
			}
			return fmt.Errorf("cannot shake hands: %v", err)
		}
		var answer protocol.HandshakeResponse
		if kind != protocol.TypeHandshakeResponse {
			return fmt.Errorf("the handshake was answered with a frame of type %#x", kind)
		}
		if err := wire.Decode(protocol.JSON, payload, &answer); err != nil {
			return fmt.Errorf("cannot read the answer to the handshake: %v", err)
		}
		if !answer.Success {
			return fmt.Errorf("the agent refuses the handshake: %s", answer.Error)
		}
		if inode, ok := peerInode(conn); ok && !holdsSocket(pid, inode) {
			return errors.New("an older process of the agent answered the handshake")
		}
		return nil
	}
}
