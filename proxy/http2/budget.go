package http2

// Budget pays for what a peer can do often at no cost to itself: resetting streams, pings, settings, empty frames, tiny window updates. It holds Size tokens at
// first and gets Size/10 of them back every second, so that an honest peer never notices it and a flood ends within moments.
type Budget struct {
	Size int64 // in whole tokens

	spent int64 // in thousandths
	at    int64 // nanoseconds
}

// Prices in thousandths of a token.
const (
	PriceReset    = 1000 // a stream ended by the peer before it was answered
	PricePing     = 1000
	PriceSettings = 2000
	PriceEmpty    = 1000 // a DATA or CONTINUATION frame that carries nothing and ends nothing
	PricePriority = 200
	PriceUpdate   = 100 // a WINDOW_UPDATE of less than tinyUpdate bytes
	PriceUnknown  = 500 // a frame of a type that is to be ignored
)

const tinyUpdate = 1024

// Spend pays price at time now (nanoseconds of any clock that does not go back). It reports false when the budget is used up.
func (b *Budget) Spend(price, now int64) bool {
	const second = 1_000_000_000
	back := b.Size * 100 // thousandths a second
	if elapsed := now - b.at; elapsed > 0 {
		if elapsed > 20*second {
			b.spent = 0
		} else {
			b.spent = max(0, b.spent-back*elapsed/second)
		}
		b.at = now
	}
	b.spent += price
	return b.spent <= b.Size*1000
}

// Price is what a frame costs by itself; resets are judged by who knows the stream.
func (f *Frame) Price() int64 {
	switch f.Type {
	case Ping:
		return PricePing
	case Settings:
		if f.Has(FlagAck) {
			return PricePing
		}
		return PriceSettings
	case Priority:
		return PricePriority
	case Data:
		if len(f.Payload) == 0 && !f.Has(FlagEndStream) {
			return PriceEmpty
		}
	case Continuation:
		if len(f.Payload) == 0 && !f.Has(FlagEndHeaders) {
			return PriceEmpty
		}
	case WindowUpdate:
		if f.Increment < tinyUpdate {
			return PriceUpdate
		}
	case Headers, RSTStream, GoAway, PushPromise:
	default:
		return PriceUnknown
	}
	return 0
}
