//go:build !purego && !race

#include "textflag.h"

// judge looks at 32 bytes, cur, of which the 32 bytes prev stand before. It is
// given tables and constants in Y8 to Y14, gathers what is wrong in Y15, and uses
// Y2 to Y6.
#define judge(prev, cur) \
	VPERM2I128 $0x21, cur, prev, Y2; \
	VPALIGNR $15, Y2, cur, Y3; \ // the byte before each
	VPALIGNR $14, Y2, cur, Y4; \ // two before
	VPALIGNR $13, Y2, cur, Y5; \ // three before
	VPSRLW $4, Y3, Y6; \
	VPAND Y11, Y6, Y6; \
	VPSHUFB Y6, Y8, Y6; \
	VPAND Y11, Y3, Y3; \
	VPSHUFB Y3, Y9, Y3; \
	VPAND Y3, Y6, Y6; \
	VPSRLW $4, cur, Y3; \
	VPAND Y11, Y3, Y3; \
	VPSHUFB Y3, Y10, Y3; \
	VPAND Y3, Y6, Y6; \
	VPSUBUSB Y13, Y4, Y4; \ // has its top bit where E0 to FF are two before
	VPSUBUSB Y14, Y5, Y5; \ // and F0 to FF three before
	VPOR Y4, Y5, Y4; \
	VPAND Y12, Y4, Y4; \
	VPXOR Y4, Y6, Y6; \
	VPOR Y6, Y15, Y15

// func utf8Blocks(p *byte, n int, pairs *[3][16]byte) bool
TEXT ·utf8Blocks(SB), NOSPLIT, $0-25
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	MOVQ pairs+16(FP), DX
	VBROADCASTI128 (DX), Y8
	VBROADCASTI128 16(DX), Y9
	VBROADCASTI128 32(DX), Y10
	MOVL $0x0F0F0F0F, AX
	VMOVD AX, X11
	VPBROADCASTD X11, Y11
	MOVL $0x80808080, AX
	VMOVD AX, X12
	VPBROADCASTD X12, Y12
	MOVL $0x60606060, AX // E0 less 80
	VMOVD AX, X13
	VPBROADCASTD X13, Y13
	MOVL $0x70707070, AX // F0 less 80
	VMOVD AX, X14
	VPBROADCASTD X14, Y14
	VPXOR Y15, Y15, Y15
	VPXOR Y7, Y7, Y7 // what stands before
	XORL R8, R8      // which bytes of Y7 are not ASCII

loop:
	VMOVDQU (SI), Y0
	VMOVDQU 32(SI), Y1
	VPOR Y0, Y1, Y2
	VPMOVMSKB Y2, AX
	ORL AX, R8
	JZ next // nothing but ASCII here and before, of which nothing can be wrong
	judge(Y7, Y0)
	judge(Y0, Y1)
	VMOVDQA Y1, Y7
	VPMOVMSKB Y1, R8

next:
	ADDQ $64, SI
	SUBQ $64, CX
	JNZ loop

	VPTEST Y15, Y15
	SETEQ ret+24(FP)
	VZEROUPPER
	RET

// func hasAVX2() bool
TEXT ·hasAVX2(SB), NOSPLIT, $0-1
	MOVB $0, ret+0(FP)
	XORL AX, AX
	CPUID
	CMPL AX, $7
	JLT no
	MOVL $1, AX
	XORL CX, CX
	CPUID
	ANDL $0x18000000, CX // OSXSAVE and AVX
	CMPL CX, $0x18000000
	JNE no
	XORL CX, CX
	XGETBV
	ANDL $6, AX // the system saves XMM and YMM
	CMPL AX, $6
	JNE no
	MOVL $7, AX
	XORL CX, CX
	CPUID
	BTL $5, BX // AVX2
	JCC no
	MOVB $1, ret+0(FP)
no:
	RET
