/* What QEMU's plugin shares with who reads it (lab/vm/blocks.py), and with the guest. */
#ifndef NETTAX_COUNT_H
#define NETTAX_COUNT_H

#include <stdint.h>

#define PHASES 8
#define BLOCKS (1 << 20)

struct block {
	uint64_t address; /* virtual, of its first instruction */
	uint64_t instructions;
	uint64_t times[PHASES]; /* that it was executed in each, as of the last mark */
};

struct counts {
	uint64_t blocks; /* that are in use; one that was translated again is another */
	uint64_t phase;
	uint64_t full; /* some were not counted */
	uint64_t unused;
	struct block block[BLOCKS];
	uint64_t now[BLOCKS];	 /* times that each was executed */
	uint64_t before[BLOCKS]; /* what that was at the last mark */
};

/* nopw 0xNN4e5454(%rax,%rax,1), NN a phase's number: what no compiler writes */
#define MARK_BYTES 0x66, 0x0f, 0x1f, 0x84, 0x00, 'T', 'T', 'N'
#define MARK_SIZE  9

#endif
