package script

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// rawConn is a connection that a script writes byte by byte.
//
//	raw NAME open [-from ADDR] [-port N] [-sni NAME]   with a name over TLS
//	raw NAME send TEXT               with Go's escapes
//	raw NAME fill N                  send N bytes
//	raw NAME drip N EVERY COUNT      send N bytes, COUNT times, and pause EVERY time; it does not matter whether the other side still listens
//	raw NAME answer STATUS [-has TEXT]... [-head TEXT]...   read one answer
//	raw NAME expect TEXT             read until TEXT was among the bytes
//	raw NAME take N EVERY COUNT      read N bytes, COUNT times, and pause EVERY time
//	raw NAME end                     the connection is closed and nothing more has come
//	raw NAME gone                    the connection is closed, whatever comes before
//	raw NAME quiet DURATION          nothing comes, and it is not closed
//	raw NAME close | half            close it, or our side of it
type rawConn = connection

func (c call) raw(args []string) error {
	if len(args) < 2 {
		return usage("raw NAME open|send|...")
	}
	name, verb, args := args[0], args[1], args[2:]
	if verb == "open" {
		from, port, over := "", c.get("PORT"), secure{}
		for ; len(args) > 1; args = args[2:] {
			switch args[0] {
			case "-from":
				from = args[1]
			case "-port":
				port = args[1]
			case "-sni":
				over = secure{on: true, trust: "ca", sni: args[1]}
			default:
				return usage("raw NAME open [-from ADDR] [-port N] [-sni NAME]")
			}
		}
		conn, err := connect(from, port)
		if err == nil && over.on {
			err = over.begin(c.world, conn)
		}
		if err != nil {
			return err
		}
		_ = conn.SetReadBuffer(256 << 10) // a client that does not read stops the other side soon
		c.mu.Lock()
		if old := c.conns[name]; old != nil {
			_ = old.Close()
		}
		c.conns[name] = conn
		c.mu.Unlock()
		return nil
	}
	c.mu.Lock()
	conn := c.conns[name]
	c.mu.Unlock()
	if conn == nil {
		return usage("no connection " + name)
	}
	_ = conn.SetDeadline(time.Now().Add(c.patience))
	return rawVerb(conn, verb, args)
}

func rawVerb(conn *rawConn, verb string, args []string) error {
	switch {
	case verb == "send" && len(args) == 1:
		text, err := unescape(args[0])
		if err != nil {
			return err
		}
		_, err = io.WriteString(conn, text)
		return err
	case verb == "fill" && len(args) == 1:
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return usage(err.Error())
		}
		_, err = io.WriteString(conn, strings.Repeat("x", n))
		return err
	case (verb == "drip" || verb == "take") && len(args) == 3:
		return slowly(conn, verb, args)
	case verb == "answer" && len(args) > 0:
		e, err := parseExchange(&world{}, append([]string{"-status"}, args...))
		if err != nil {
			return err
		}
		conn.seen.Reset()
		res, body, err := readAnswer(conn, "GET")
		if err != nil {
			return err
		}
		if err := e.judge(res, conn.seen.String(), body); err != nil {
			return fmt.Errorf("%w\n%.2000s\n%.500s", err, conn.seen.String(), body)
		}
		return nil
	case verb == "expect" && len(args) == 1:
		text, err := unescape(args[0])
		if err != nil {
			return err
		}
		var got strings.Builder
		for !strings.Contains(got.String(), text) {
			b, err := conn.r.ReadByte()
			if err != nil {
				return fmt.Errorf("%w, after %q", err, got.String())
			}
			got.WriteByte(b)
		}
		return nil
	case verb == "end" || verb == "gone":
		n, err := io.Copy(io.Discard, conn.r)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errors.New("the connection stays open")
		case n > 0 && verb == "end":
			return fmt.Errorf("%d more bytes came before the end", n)
		}
		return nil
	case verb == "quiet" && len(args) == 1:
		return quiet(conn, args[0])
	case verb == "close":
		return conn.Close()
	case verb == "half":
		return conn.CloseWrite()
	}
	return usage("raw NAME " + verb)
}

func slowly(conn *rawConn, verb string, args []string) error {
	n, err1 := strconv.Atoi(args[0])
	every, err2 := time.ParseDuration(args[1])
	count, err3 := strconv.Atoi(args[2])
	if err := errors.Join(err1, err2, err3); err != nil {
		return usage(err.Error())
	}
	buf := []byte(strings.Repeat("x", n))
	_ = conn.SetDeadline(time.Now().Add(patience + every*time.Duration(count)))
	for range count {
		if verb == "drip" {
			if _, err := conn.Write(buf); err != nil {
				return nil
			}
		} else if _, err := io.ReadFull(conn.r, buf); err != nil {
			return err
		}
		time.Sleep(every)
	}
	return nil
}

func quiet(conn *rawConn, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return usage(err.Error())
	}
	_ = conn.SetReadDeadline(time.Now().Add(d))
	b, err := conn.r.Peek(1)
	var ne net.Error
	if err != nil && errors.As(err, &ne) && ne.Timeout() {
		return nil
	}
	return fmt.Errorf("not quiet: %q, %v", b, err)
}
