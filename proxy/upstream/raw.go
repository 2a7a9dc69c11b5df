package upstream

import "syscall"

// Raw is the socket for a driver that does its own reading and writing. It is made once per connection.
func (c *Conn) Raw() syscall.RawConn { return c.raw }
