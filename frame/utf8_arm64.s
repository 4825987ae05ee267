//go:build !purego && !race

#include "textflag.h"

// judge looks at 16 bytes, cur, of which the 16 bytes prev stand before. It is
// given tables and constants in V16 to V22, gathers what is wrong in V23, and uses
// V5 to V8.
#define judge(prev, cur) \
	VEXT $15, cur.B16, prev.B16, V5.B16; \ // the byte before each
	VUSHR $4, V5.B16, V6.B16; \
	VTBL V6.B16, [V16.B16], V6.B16; \
	VAND V19.B16, V5.B16, V5.B16; \
	VTBL V5.B16, [V17.B16], V5.B16; \
	VAND V5.B16, V6.B16, V6.B16; \
	VUSHR $4, cur.B16, V5.B16; \
	VTBL V5.B16, [V18.B16], V5.B16; \
	VAND V5.B16, V6.B16, V6.B16; \
	VEXT $14, cur.B16, prev.B16, V5.B16; \ // two before
	VUMAX V21.B16, V5.B16, V7.B16; \
	VCMEQ V7.B16, V5.B16, V5.B16; \ // all ones for E0 to FF
	VEXT $13, cur.B16, prev.B16, V7.B16; \ // three before
	VUMAX V22.B16, V7.B16, V8.B16; \
	VCMEQ V8.B16, V7.B16, V7.B16; \ // all ones for F0 to FF
	VORR V7.B16, V5.B16, V5.B16; \
	VAND V20.B16, V5.B16, V5.B16; \
	VEOR V5.B16, V6.B16, V6.B16; \
	VORR V6.B16, V23.B16, V23.B16

// func utf8Blocks(p *byte, n int, pairs *[3][16]byte) bool
TEXT ·utf8Blocks(SB), NOSPLIT, $0-25
	MOVD p+0(FP), R0
	MOVD n+8(FP), R1
	MOVD pairs+16(FP), R2
	VLD1 (R2), [V16.B16, V17.B16, V18.B16]
	VMOVI $0x0F, V19.B16
	VMOVI $0x80, V20.B16
	VMOVI $0xE0, V21.B16
	VMOVI $0xF0, V22.B16
	VEOR V23.B16, V23.B16, V23.B16
	VEOR V24.B16, V24.B16, V24.B16 // what stands before

loop:
	VLD1.P 64(R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	VORR V0.B16, V1.B16, V5.B16
	VORR V2.B16, V3.B16, V6.B16
	VORR V5.B16, V24.B16, V5.B16
	VORR V5.B16, V6.B16, V5.B16
	VMOV V5.D[0], R3
	VMOV V5.D[1], R4
	ORR R3, R4, R3
	TST $0x8080808080808080, R3
	BEQ next // nothing but ASCII here and before, of which nothing can be wrong
	judge(V24, V0)
	judge(V0, V1)
	judge(V1, V2)
	judge(V2, V3)
	VORR V3.B16, V3.B16, V24.B16

next:
	SUBS $64, R1, R1
	BNE loop

	VUADDLV V23.B16, V5
	VMOV V5.H[0], R3
	CMP $0, R3
	CSET EQ, R3
	MOVB R3, ret+24(FP)
	RET
