// Package tlsconf turns the tls blocks of a configuration into what connections are made of, by crypto/tls.
//
// Server is one listener: its certificates by name, versions, client certificates, session tickets. Client is one upstream. Both are made anew for every
// generation from file contents that were read with the configuration; a connection keeps the ones it was made with. What must outlive a generation, the keys
// of session tickets and fetched OCSP answers, is taken over from the former Server of the same listener.
//
// Run fetches OCSP answers and certificates of ACME servers beside the serving; it belongs to whoever made the Server and ends with it.
//
// Session is TLS without a socket: it turns ciphertext that somebody read into plaintext, and plaintext into ciphertext that somebody writes. The owner of the
// socket so keeps its own way of waiting; see package server.
//
// What can be spoken over TLS (ALPN) is in one variable, protocols. Another one becomes another element there, and a branch where package server has finished
// a handshake and knows State().NegotiatedProtocol.
package tlsconf
