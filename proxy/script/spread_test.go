package script

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// spread sends COUNT requests and counts which backend answered: a backend says its name. What is counted, besides the names:
//
//	used   how many backends answered at all
//	most   how many requests the busiest one answered
//	same   with -as: how many requests were answered by the backend that answered the same one for the other path
//
// In paths and headers {n} stands for the number of the request, from 1. Options:
//
//	-header 'K: V'   a header of each request      -as /PATH   ask for this path too and compare
//	-together        all of them at the same time, each on its own connection; otherwise one after the other on one
type spreading struct {
	world    *world
	header   []string
	path, as string
	together bool

	mu sync.Mutex // guards by
	by map[string]int
}

func (c call) spread(args []string) error {
	s := &spreading{world: c.world, by: map[string]int{}}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch {
		case args[0] == "-together":
			s.together, args = true, args[1:]
			continue
		case len(args) < 2:
			return usage("spread " + args[0])
		case args[0] == "-header":
			s.header = append(s.header, args[1])
		case args[0] == "-as":
			s.as = args[1]
		default:
			return usage("spread " + args[0])
		}
		args = args[2:]
	}
	if len(args) < 2 || (len(args)-2)%3 != 0 {
		return usage("spread [OPTION]... COUNT /PATH NAME OP N ...")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return usage(err.Error())
	}
	s.path = args[1]
	if err := s.send(n); err != nil {
		return err
	}
	return s.judge(args[2:])
}

func (s *spreading) send(n int) error {
	if s.together {
		failures := make(chan error, n)
		for i := range n {
			go func() { failures <- s.alone(i + 1) }()
		}
		var bad error
		for range n {
			if err := <-failures; err != nil {
				bad = err
			}
		}
		return bad
	}
	conn, err := connect("", s.world.get("PORT"))
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := range n {
		if err := s.one(conn, i+1); err != nil {
			return err
		}
	}
	return nil
}

func (s *spreading) alone(i int) error {
	conn, err := connect("", s.world.get("PORT"))
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.one(conn, i)
}

// one sends the i-th request.
func (s *spreading) one(conn *connection, i int) error {
	number := strconv.Itoa(i)
	e := exchange{method: "GET", path: strings.ReplaceAll(s.path, "{n}", number), status: []int{200}}
	for _, h := range s.header {
		e.header = append(e.header, strings.ReplaceAll(h, "{n}", number))
	}
	name, err := e.on(conn)
	if err != nil {
		return err
	}
	other := ""
	if s.as != "" {
		e.path = strings.ReplaceAll(s.as, "{n}", number)
		if other, err = e.on(conn); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by[strings.TrimSpace(name)]++
	if other == name {
		s.by["same"]++
	}
	return nil
}

func (s *spreading) judge(want []string) error {
	used, most := 0, 0
	for name, n := range s.by {
		if name != "same" {
			used++
			most = max(most, n)
		}
	}
	s.by["used"], s.by["most"] = used, most
	for ; len(want) > 0; want = want[3:] {
		if err := compare(float64(s.by[want[0]]), want[1], want[2]); err != nil {
			return fmt.Errorf("answers of %s: %w (%v)", want[0], err, s.by)
		}
	}
	return nil
}
