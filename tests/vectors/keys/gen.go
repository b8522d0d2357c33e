// Computes the key vectors with Go's standard library, independently of the Python code:
//
//	go run tests/vectors/keys/gen.go > tests/vectors/keys/keys.json
//
// Every input is fixed, so the output never changes; Go 1.24 or later (crypto/hkdf). A pair's secret is computed as the double sum over all coefficients, not from a share.
package main

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/big"
	"os"
)

const (
	uidA     = "3f0c2a52-8f0e-4b1c-9d5e-0a8b7c6d5e4f"
	uidB     = "9a1b2c3d-4e5f-4a6b-8c7d-1e2f3a4b5c6d"
	uidC     = "nœud-trois"
	terms    = 64
	epochHex = "000102030405060708090a0b0c0d0e0f"
)

var prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func unhex(text string) []byte {
	value, err := hex.DecodeString(text)
	check(err)
	return value
}

func u64(value uint64) []byte { return binary.BigEndian.AppendUint64(nil, value) }

func frames(parts ...[]byte) []byte {
	var out []byte
	for _, part := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}

// ---- node keys

func coefficient(seed []byte, i, j int) *big.Int {
	info := []byte("wirecrypt/1 poly")
	info = binary.BigEndian.AppendUint16(info, uint16(min(i, j)))
	info = binary.BigEndian.AppendUint16(info, uint16(max(i, j)))
	wide, err := hkdf.Key(sha512.New, seed, nil, string(info), 64)
	check(err)
	number := new(big.Int).SetBytes(wide)
	return number.Mod(number, prime)
}

func point(uid string) *big.Int {
	sum := sha512.Sum512([]byte("wirecrypt/1 node" + uid))
	number := new(big.Int).SetBytes(sum[:])
	return number.Mod(number, prime)
}

func power(base *big.Int, exponent int) *big.Int {
	return new(big.Int).Exp(base, big.NewInt(int64(exponent)), prime)
}

func fixed(number *big.Int) []byte { return number.FillBytes(make([]byte, 32)) }

func share(seed []byte, uid string) []byte {
	var out []byte
	for j := range terms {
		sum := new(big.Int)
		for i := range terms {
			sum.Add(sum, new(big.Int).Mul(coefficient(seed, i, j), power(point(uid), i)))
		}
		out = append(out, fixed(sum.Mod(sum, prime))...)
	}
	return out
}

func pairSecret(seed []byte, a, b string) []byte {
	sum := new(big.Int)
	for i := range terms {
		for j := range terms {
			product := new(big.Int).Mul(power(point(a), i), power(point(b), j))
			sum.Add(sum, product.Mul(product, coefficient(seed, i, j)))
		}
	}
	return fixed(sum.Mod(sum, prime))
}

// ---- traffic and control keys

type end struct {
	NodeID  int    `json:"node_id"`
	UID     string `json:"node_uid"`
	Number  uint64 `json:"number"`
	Private string `json:"private"`
	Public  string `json:"public"`
}

func newEnd(id int, uid string, number uint64, private string) end {
	key, err := ecdh.X25519().NewPrivateKey(unhex(private))
	check(err)
	return end{id, uid, number, private, hex.EncodeToString(key.PublicKey().Bytes())}
}

func (e end) agree(peer end) []byte {
	key, err := ecdh.X25519().NewPrivateKey(unhex(e.Private))
	check(err)
	public, err := ecdh.X25519().NewPublicKey(unhex(peer.Public))
	check(err)
	result, err := key.ECDH(public)
	check(err)
	return result
}

type derived struct {
	Use       string `json:"use"`
	Sender    string `json:"sender"`
	Algorithm string `json:"algorithm"`
	Lane      uint64 `json:"lane"`
	Info      string `json:"info"`
	Key       string `json:"key"`
}

type generation struct {
	Epoch   uint64    `json:"epoch"`
	EpochID string    `json:"epoch_id"`
	Lo      end       `json:"lo"`
	Hi      end       `json:"hi"`
	Salt    string    `json:"pair_secret"`
	Agreed  string    `json:"agreed"`
	Keys    []derived `json:"keys"`
}

func (g *generation) derive(use, sender, algorithm string, lane uint64, length int) {
	info := frames([]byte("wirecrypt/1"), []byte(use), u64(g.Epoch), unhex(g.EpochID), []byte(sender),
		[]byte(algorithm), u64(lane), []byte(g.Lo.UID), u64(g.Lo.Number), unhex(g.Lo.Public),
		[]byte(g.Hi.UID), u64(g.Hi.Number), unhex(g.Hi.Public))
	key, err := hkdf.Key(sha256.New, unhex(g.Agreed), unhex(g.Salt), string(info), length)
	check(err)
	g.Keys = append(g.Keys, derived{use, sender, algorithm, lane, hex.EncodeToString(info), hex.EncodeToString(key)})
}

func newGeneration(seed []byte, epoch uint64, lo, hi end) generation {
	agreed := lo.agree(hi)
	if !bytes.Equal(agreed, hi.agree(lo)) {
		panic("the two ends differ")
	}
	g := generation{Epoch: epoch, EpochID: epochHex, Lo: lo, Hi: hi,
		Salt: hex.EncodeToString(pairSecret(seed, lo.UID, hi.UID)), Agreed: hex.EncodeToString(agreed)}
	for _, algorithm := range []string{"aes-256-gcm", "chacha20-poly1305"} {
		for _, sender := range []string{"lo", "hi"} {
			for _, lane := range []uint64{0, 1, 15} {
				g.derive("esp", sender, algorithm, lane, 36)
			}
			g.derive("control", sender, algorithm, 0, 32)
		}
	}
	return g
}

// ---- control datagrams

type numbers [3]uint64

type datagram struct {
	Name         string    `json:"name"`
	Key          string    `json:"key"`
	Size         int       `json:"size"`
	Kind         byte      `json:"kind"`
	Lane         byte      `json:"lane"`
	Generation   numbers   `json:"generation"`
	Nonce        string    `json:"nonce"`
	Newest       uint64    `json:"newest"`
	InUse        *numbers  `json:"in_use"`
	Sending      []numbers `json:"sending"`
	AcceptsPlain bool      `json:"accepts_plain"`
	SendsPlain   bool      `json:"sends_plain"`
	Datagram     string    `json:"datagram"`
}

func (n numbers) bytes() []byte { return append(append(u64(n[0]), u64(n[1])...), u64(n[2])...) }

func (d datagram) sealed() datagram {
	out := make([]byte, d.Size)
	out[0], out[1], out[2] = 1, d.Kind, d.Lane
	if d.AcceptsPlain {
		out[3] |= 1
	}
	if d.SendsPlain {
		out[3] |= 2
	}
	out[4] = byte(len(d.Sending))
	copy(out[8:], d.Generation.bytes())
	copy(out[32:], unhex(d.Nonce))
	copy(out[48:], u64(d.Newest))
	if d.InUse != nil {
		out[3] |= 4
		copy(out[56:], d.InUse.bytes())
	}
	for n, listed := range d.Sending { // given in ascending order
		copy(out[80+24*n:], listed.bytes())
	}
	mac := hmac.New(sha256.New, unhex(d.Key))
	mac.Write(out[:d.Size-16])
	copy(out[d.Size-16:], mac.Sum(nil)[:16])
	d.Datagram = hex.EncodeToString(out)
	return d
}

func counting(from byte) []byte {
	out := make([]byte, 32)
	for n := range out {
		out[n] = from + byte(n)
	}
	return out
}

func datagrams(g generation) []datagram {
	keys := map[string]string{}
	for _, key := range g.Keys {
		if key.Use == "control" && key.Algorithm == "aes-256-gcm" {
			keys[key.Sender] = key.Key
		}
	}
	here := numbers{g.Epoch, g.Lo.Number, g.Hi.Number}
	older := numbers{g.Epoch, g.Lo.Number - 1, g.Hi.Number}
	top := numbers{math.MaxUint64, math.MaxUint64, math.MaxUint64}
	nonce := hex.EncodeToString(counting(0xf0)[:16])
	out := []datagram{
		{Name: "probe", Key: keys["lo"], Size: 256, Kind: 1, Lane: 2, Generation: here, Nonce: nonce,
			Newest: g.Lo.Number, InUse: &older, Sending: []numbers{older, here}},
		{Name: "answer", Key: keys["hi"], Size: 256, Kind: 2, Lane: 2, Generation: here, Nonce: nonce,
			Newest: g.Hi.Number, InUse: &here, Sending: []numbers{here}},
		{Name: "probe of full size", Key: keys["lo"], Size: 1400, Kind: 1, Lane: 15, Generation: here, Nonce: nonce,
			Newest: math.MaxUint64, InUse: &top, Sending: []numbers{older, here, top}},
		{Name: "joining: nothing in use", Key: keys["hi"], Size: 256, Kind: 1, Generation: here, Nonce: nonce,
			Sending: []numbers{}},
		{Name: "leaving", Key: keys["hi"], Size: 256, Kind: 2, Generation: here, Nonce: nonce,
			Newest: g.Hi.Number, Sending: []numbers{here}, AcceptsPlain: true, SendsPlain: true},
	}
	for n := range out {
		out[n] = out[n].sealed()
	}
	return out
}

func main() {
	seed := counting(0xa0)
	a := newEnd(16, uidA, 5, hex.EncodeToString(counting(0x11)))
	b := newEnd(65535, uidB, 72, hex.EncodeToString(counting(0x51)))
	c := newEnd(300, uidC, math.MaxUint64, hex.EncodeToString(counting(0x91)))
	shares := map[string]string{}
	for _, uid := range []string{uidA, uidB, uidC} {
		shares[uid] = hex.EncodeToString(share(seed, uid))
	}
	generations := []generation{newGeneration(seed, 3, a, b), newGeneration(seed, math.MaxUint64, c, b)}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	check(encoder.Encode(map[string]any{
		"about":       "made by: go run tests/vectors/keys/gen.go > tests/vectors/keys/keys.json",
		"frames":      hex.EncodeToString(frames([]byte("a"), nil, []byte("bc"))),
		"seed":        hex.EncodeToString(seed),
		"shares":      shares,
		"generations": generations,
		"datagrams":   datagrams(generations[0]),
	}))
}
