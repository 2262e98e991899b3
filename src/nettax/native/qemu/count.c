/*
 * A plugin of QEMU's: how often each block of a guest's code was executed, in each phase of a run.
 *
 * A block is what QEMU translates at once: instructions in a row, up to a jump. The guest tells its
 * phases itself, by an instruction that does nothing (native/exact.c), and notices nothing else: no
 * instruction more is executed in it. What is counted goes to memory that who started QEMU shares.
 *
 * The few declarations are those of qemu-plugin.h, which distributions leave out. It has changed
 * once for us: QEMU 9.1 (plugins' version 3) copies an instruction's bytes, older ones point to
 * them.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "count.h"

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;

struct qemu_info {
	const char *target_name;
	struct {
		int min, cur;
	} version;
};

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
void qemu_plugin_insn_data(void);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
					   void (*call)(uint64_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  void (*call)(unsigned int cpu, void *with), int flags,
					  void *with);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*call)(unsigned int cpu, void *with), int flags,
					    void *with);

EXPORT int qemu_plugin_version = 1;

static struct counts *counts;
static int version;
static void (*count_inline)(struct qemu_plugin_tb *tb, int op, void *sum, uint64_t addend);

/*
 * QEMU 9.0 and later take no plugin of version 1; what came with 9.0 tells which it is. Older ones
 * can add without a call, which is quicker.
 */
__attribute__((constructor)) static void adapt(void)
{
	if (dlsym(RTLD_DEFAULT, "qemu_plugin_scoreboard_new"))
		qemu_plugin_version = 2;
	count_inline = dlsym(RTLD_DEFAULT, "qemu_plugin_register_vcpu_tb_exec_inline");
}

static void read_bytes(const struct qemu_plugin_insn *insn, uint8_t bytes[MARK_SIZE])
{
	void (*any)(void) = qemu_plugin_insn_data;

	if (version >= 3) {
		((size_t(*)(const struct qemu_plugin_insn *, void *, size_t))any)(insn, bytes,
										  MARK_SIZE);
		return;
	}
	memcpy(bytes, ((const void *(*)(const struct qemu_plugin_insn *))any)(insn), MARK_SIZE);
}

static void count(unsigned int cpu, void *with)
{
	uint64_t *now = with;

	(void)cpu;
	++*now;
}

/* A mark: what was executed since the last one is the phase's that ends. */
static void enter(unsigned int cpu, void *with)
{
	uint64_t i;

	(void)cpu;
	for (i = 0; i < counts->blocks; i++) {
		if (counts->now[i] == counts->before[i])
			continue;
		counts->block[i].times[counts->phase] += counts->now[i] - counts->before[i];
		counts->before[i] = counts->now[i];
	}
	counts->phase = (uintptr_t)with;
}

static void look_for_mark(struct qemu_plugin_insn *insn)
{
	static const uint8_t mark[] = {MARK_BYTES};
	uint8_t bytes[MARK_SIZE];

	if (qemu_plugin_insn_size(insn) != MARK_SIZE || qemu_plugin_insn_vaddr(insn) >> 63)
		return;
	read_bytes(insn, bytes);
	if (!memcmp(bytes, mark, sizeof(mark)) && bytes[MARK_SIZE - 1] < PHASES)
		qemu_plugin_register_vcpu_insn_exec_cb(insn, enter, 0,
						       (void *)(uintptr_t)bytes[MARK_SIZE - 1]);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb), i;
	struct block *block;
	uint64_t *now;

	(void)id;
	for (i = 0; i < n; i++)
		look_for_mark(qemu_plugin_tb_get_insn(tb, i));
	if (counts->blocks == BLOCKS) {
		counts->full = 1;
		return;
	}
	block = &counts->block[counts->blocks];
	now = &counts->now[counts->blocks++];
	block->address = qemu_plugin_tb_vaddr(tb);
	block->instructions = n;
	if (count_inline)
		count_inline(tb, 0, now, 1);
	else
		qemu_plugin_register_vcpu_tb_exec_cb(tb, count, 0, now);
}

/* Its one argument is fd=N: what to map. */
EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	if (argc != 1 || strncmp(argv[0], "fd=", 3))
		return -1;
	counts =
	    mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[0] + 3), 0);
	if (counts == MAP_FAILED)
		return -1;
	version = info->version.cur;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
