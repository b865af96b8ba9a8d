//go:build ignore

// A plugin of QEMU's user mode that counts the instructions that each function of the emulated
// program executes and prints them, "count name" a line, when the program exits.
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

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct block *, void (*)(unsigned cpu, void *), int flags, void *);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
const char *qemu_plugin_insn_symbol(const struct instruction *);
void qemu_plugin_outs(const char *);

EXPORT int qemu_plugin_version = 1;

// A function of the program; a list, because few are counted.
struct function {
	char *name;
	uint64_t count;
	struct function *next;
};

// What a block adds to its function each time it runs.
struct run {
	struct function *function;
	uint64_t instructions;
};

static const char *prefix = "";
static struct function *functions;

static struct function *find(const char *name)
{
	struct function *f;
	for (f = functions; f; f = f->next)
		if (strcmp(f->name, name) == 0)
			return f;
	f = malloc(sizeof *f);
	*f = (struct function){strdup(name), 0, functions};
	return functions = f;
}

// Threads of the program run in threads of QEMU.
static void executed(unsigned cpu, void *data)
{
	struct run *r = data;
	__atomic_fetch_add(&r->function->count, r->instructions, __ATOMIC_RELAXED);
}

// QEMU translates under a lock.
static void translated(plugin_id id, struct block *b)
{
	const char *name = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(b, 0));
	if (!name || strncmp(name, prefix, strlen(prefix)) != 0)
		return;
	struct run *r = malloc(sizeof *r);
	*r = (struct run){find(name), qemu_plugin_tb_n_insns(b)};
	qemu_plugin_register_vcpu_tb_exec_cb(b, executed, 0, r);
}

static void finished(plugin_id id, void *data)
{
	for (struct function *f = functions; f; f = f->next) {
		char line[1024];
		snprintf(line, sizeof line, "%llu %s\n", (unsigned long long)f->count, f->name);
		qemu_plugin_outs(line);
	}
}

// The only argument, prefix=..., is what the names of the counted functions begin with.
EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	if (argc == 1 && strncmp(argv[0], "prefix=", 7) == 0)
		prefix = strdup(argv[0] + 7);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finished, NULL);
	return 0;
}
