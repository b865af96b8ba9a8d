//go:build ignore

// A plugin of QEMU's user mode for the functions of the emulated program whose names begin with prefix=...: when the
// program exits it prints each block, a run of instructions without a branch, as "runs instructions address function".
// With l1=size.ways and l2=size.ways it also simulates caches of these bytes for the loads and stores of these functions:
// "misses accesses level" a line. Lines have 64 bytes, the one used longest ago goes, and nothing is prefetched.
//
// Debian packages QEMU without the header of this interface; what is used of it is declared here.
// The interface has version 1 up to QEMU 8.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct block;       // a translated run of instructions without a branch
struct instruction; // of a block

enum { no_registers, read_write = 3 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct block *, void (*)(unsigned cpu, void *), int flags, void *);
void qemu_plugin_register_vcpu_mem_cb(struct instruction *, void (*)(unsigned cpu, uint32_t info, uint64_t address, void *),
				      int flags, int which, void *);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
const char *qemu_plugin_insn_symbol(const struct instruction *);
uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
unsigned qemu_plugin_mem_size_shift(uint32_t info);
void qemu_plugin_outs(const char *);

EXPORT int qemu_plugin_version = 1;

// A run of instructions; a list, because few are counted. One that QEMU translates again is in it twice.
struct run {
	char *function;
	uint64_t address, instructions, count;
	struct run *next;
};

// A cache has the numbers of its lines, those of a set from the one used last to the one used longest ago.
struct cache {
	uint64_t sets, ways, accesses, misses;
	uint64_t *lines;
};

static const char *prefix = "";
static struct run *runs;
static struct cache caches[2];

// Threads of the program run in threads of QEMU.
static void executed(unsigned cpu, void *data)
{
	struct run *r = data;
	__atomic_fetch_add(&r->count, 1, __ATOMIC_RELAXED);
}

// touch reads or writes a line of level c, and of those behind it where it is missing.
static void touch(struct cache *c, uint64_t line)
{
	if (c == caches + 2 || !c->lines)
		return;
	uint64_t *set = c->lines + line % c->sets * c->ways, i = 0;
	while (i < c->ways - 1 && set[i] != line)
		i++;
	c->accesses++;
	if (set[i] != line) {
		c->misses++;
		touch(c + 1, line);
	}
	memmove(set + 1, set, i * sizeof *set);
	set[0] = line;
}

// The counted functions run on one thread at a time.
static void accessed(unsigned cpu, uint32_t info, uint64_t address, void *data)
{
	uint64_t last = (address + (1 << qemu_plugin_mem_size_shift(info)) - 1) / 64;
	for (uint64_t line = address / 64; line <= last; line++)
		touch(caches, line);
}

// QEMU translates under a lock.
static void translated(plugin_id id, struct block *b)
{
	const char *name = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(b, 0));
	if (!name || strncmp(name, prefix, strlen(prefix)) != 0)
		return;
	struct run *r = malloc(sizeof *r);
	*r = (struct run){strdup(name), qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(b, 0)), qemu_plugin_tb_n_insns(b), 0, runs};
	runs = r;
	qemu_plugin_register_vcpu_tb_exec_cb(b, executed, no_registers, r);
	if (caches[0].lines)
		for (size_t i = 0; i < r->instructions; i++)
			qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(b, i), accessed, no_registers, read_write, NULL);
}

static void finished(plugin_id id, void *data)
{
	char line[1024];
	for (struct run *r = runs; r; r = r->next) {
		snprintf(line, sizeof line, "%llu %llu %llx %s\n", (unsigned long long)r->count, (unsigned long long)r->instructions,
			 (unsigned long long)r->address, r->function);
		qemu_plugin_outs(line);
	}
	for (int i = 0; i < 2; i++)
		if (caches[i].lines) {
			snprintf(line, sizeof line, "%llu %llu L%d\n", (unsigned long long)caches[i].misses,
				 (unsigned long long)caches[i].accesses, i + 1);
			qemu_plugin_outs(line);
		}
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		int level;
		unsigned long long size, ways;
		if (strncmp(argv[i], "prefix=", 7) == 0) {
			prefix = strdup(argv[i] + 7);
		} else if (sscanf(argv[i], "l%d=%llu.%llu", &level, &size, &ways) == 3 && (level == 1 || level == 2)) {
			struct cache *c = &caches[level - 1];
			*c = (struct cache){.sets = size / 64 / ways, .ways = ways};
			c->lines = malloc(c->sets * ways * sizeof *c->lines);
			memset(c->lines, 0xff, c->sets * ways * sizeof *c->lines);
		} else {
			return 1;
		}
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finished, NULL);
	return 0;
}
