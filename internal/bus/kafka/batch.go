package kafka

import (
	"encoding/binary"
	"hash/crc32"
)

// The layout of a record batch, version 2, as Kafka stores and sends it. All
// numbers are big-endian, all but the records of fixed width.
//
//	 0  int32  length of what follows: not of the batch, but of the request's field
//	 4  int64  base offset (0: the broker sets it)
//	12  int32  batch length, from here
//	16  int32  partition leader epoch (−1)
//	20  int8   magic 2
//	21  uint32 CRC-32C of everything behind it
//	25  int16  attributes (0: not compressed, CreateTime, no transaction)
//	27  int32  last offset delta
//	31  int64  first timestamp, ms
//	39  int64  max timestamp, ms
//	47  int64  producer id
//	55  int16  producer epoch
//	57  int32  base sequence
//	61  int32  number of records
//	65  records: varint length, attributes, Δtimestamp, Δoffset, key, value, headers
const (
	offBatchLength = 12
	offLeaderEpoch = 16
	offMagic       = 20
	offCRC         = 21
	offAttributes  = 25
	offLastDelta   = 27
	offFirstTime   = 31
	offMaxTime     = 39
	offProducerID  = 47
	offEpoch       = 55
	offSequence    = 57
	offCount       = 61
	batchHeader    = 65

	// recordOverhead is more than a record ever takes beside key and value:
	// five varints of at most 5 bytes, attributes, headers.
	recordOverhead = 32
)

// castagnoli is the polynomial of the batch's checksum; it never changes.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identity is what the broker knows a stream of records by. Sequence numbers
// count within an identity and a partition.
type identity struct {
	id    int64
	epoch int16
}

// appendBatch encodes records as one batch behind its length prefix. All get
// the same time; sequences follow one another from sequence on. dst must be
// empty but may have capacity.
func appendBatch(dst []byte, records []record, who identity, sequence int32, millis int64) []byte {
	dst = append(dst[:0], make([]byte, batchHeader)...)
	for i := range records {
		dst = appendRecord(dst, int64(i), records[i].key, records[i].value)
	}
	b := binary.BigEndian
	b.PutUint32(dst, uint32(len(dst)-4))
	b.PutUint32(dst[offBatchLength:], uint32(len(dst)-offLeaderEpoch))
	b.PutUint32(dst[offLeaderEpoch:], 0xffffffff)
	dst[offMagic] = 2
	b.PutUint32(dst[offLastDelta:], uint32(len(records)-1))
	b.PutUint64(dst[offFirstTime:], uint64(millis))
	b.PutUint64(dst[offMaxTime:], uint64(millis))
	b.PutUint32(dst[offCount:], uint32(len(records)))
	stamp(dst, who, sequence)
	return dst
}

// stamp gives an encoded batch another identity and sequence.
func stamp(batch []byte, who identity, sequence int32) {
	b := binary.BigEndian
	b.PutUint64(batch[offProducerID:], uint64(who.id))
	b.PutUint16(batch[offEpoch:], uint16(who.epoch))
	b.PutUint32(batch[offSequence:], uint32(sequence))
	b.PutUint32(batch[offCRC:], crc32.Checksum(batch[offAttributes:], castagnoli))
}

func appendRecord(dst []byte, delta int64, key, value []byte) []byte {
	length := 1 + 1 + varintLen(delta) + bytesLen(key) + bytesLen(value) + 1
	dst = binary.AppendVarint(dst, int64(length))
	dst = append(dst, 0, 0) // attributes, Δtimestamp
	dst = binary.AppendVarint(dst, delta)
	dst = appendBytes(dst, key)
	dst = appendBytes(dst, value)
	return append(dst, 0) // headers
}

// appendBytes writes a length and the bytes; nil is −1, which is not the same
// as empty.
func appendBytes(dst, p []byte) []byte {
	if p == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(p)))
	return append(dst, p...)
}

func bytesLen(p []byte) int {
	if p == nil {
		return 1
	}
	return varintLen(int64(len(p))) + len(p)
}

// varintLen is the size of n in zigzag varint encoding.
func varintLen(n int64) int {
	size := 1
	for u := uint64(n<<1) ^ uint64(n>>63); u >= 0x80; u >>= 7 {
		size++
	}
	return size
}

// nextSequence is what follows after count records; the numbers wrap to 0
// behind 2³¹ − 1, as Kafka's own client does it.
func nextSequence(sequence int32, count int) int32 {
	return int32((int64(sequence) + int64(count)) & 0x7fffffff)
}
