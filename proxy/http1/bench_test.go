package http1

import "testing"

const (
	smallRequest = "GET /index.html HTTP/1.1\r\nHost: example.com\r\n\r\n"
	curlRequest  = "GET /api/v1/items?page=2 HTTP/1.1\r\nHost: example.com:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
	browser      = "GET /static/app/main.7f3a2c.js?v=20240611 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"124\", \"Google Chrome\";v=\"124\", \"Not-A.Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\n" +
		"sec-ch-ua-platform: \"Linux\"\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n" +
		"Referer: https://www.example.com/dashboard/overview?tab=all\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; _ga=GA1.2.1234567890.1700000000\r\n\r\n"
	smallResponse = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 21 Nov 2025 10:00:00 GMT\r\nContent-Type: text/plain\r\n" +
		"Content-Length: 13\r\nLast-Modified: Fri, 21 Nov 2025 09:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"692030d0-d\"\r\nAccept-Ranges: bytes\r\n\r\n"
)

func BenchmarkRequestParse(b *testing.B) {
	for _, bench := range []struct{ name, head string }{{"small", smallRequest}, {"curl", curlRequest}, {"browser", browser}} {
		b.Run(bench.name, func(b *testing.B) {
			buf := []byte(bench.head)
			limits := &Limits{}
			var r Request
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				r.Reset()
				if n, refusal := r.Parse(buf, limits); n != len(buf) || refusal != nil {
					b.Fatal(n, refusal)
				}
			}
		})
	}
}

func BenchmarkResponseParse(b *testing.B) {
	buf := []byte(smallResponse)
	limits := &Limits{}
	var r Response
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		if n, refusal := r.Parse(buf, MethodGet, limits); n != len(buf) || refusal != nil {
			b.Fatal(n, refusal)
		}
	}
}

func BenchmarkBodyChunked(b *testing.B) {
	for _, size := range []int{64, 4096, 65536} {
		b.Run(map[int]string{64: "64B", 4096: "4KiB", 65536: "64KiB"}[size], func(b *testing.B) {
			var src []byte
			for range 4 {
				src = AppendChunk(src, make([]byte, size))
			}
			src = AppendLastChunk(src, nil)
			limits := &Limits{}
			var body Body
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				body.Init(FramingChunked, -1, FromClient, limits)
				for rest := src; !body.Done(); {
					n, _, _, refusal := body.Next(rest)
					if refusal != nil {
						b.Fatal(refusal)
					}
					rest = rest[n:]
				}
			}
		})
	}
}

func BenchmarkForwardHead(b *testing.B) {
	buf := []byte(curlRequest)
	var r Request
	if _, refusal := r.Parse(buf, nil); refusal != nil {
		b.Fatal(refusal)
	}
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendRequestLineOf(dst[:0], &r)
		dst = AppendEndToEnd(dst, r.Fields)
	}
}
